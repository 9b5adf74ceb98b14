/* Keeps the landing page fresh while somebody looks at it. Text goes in by textContent; charts are drawn by dashboard_charts. */

import { drawCharts, utc } from "./dashboard_charts.js";

const NOW_MS = 3000;
const WINDOW_MS = 6000;
// A server that says nothing for so long is as good as away.
const PATIENCE_MS = 12000;
const root = document.getElementById("dashboard");
const place = (id) => document.getElementById(id);
const minutes = place("minutes");
const ORDER = { bad: 0, warn: 1, ok: 2 };
let lights = [];
let sums = null;
let freshAt = 0;
const trouble = { now: "", window: "" };

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
  target.hidden = text === "";
}

async function read(address) {
  try {
    const answer = await fetch(address, { cache: "no-store", redirect: "manual", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.type === "opaqueredirect") return { detail: "You are logged out. Load the page again to log in." };
    const body = await answer.json().catch(() => ({ detail: `The server answers ${answer.status}.` }));
    return answer.ok ? { body } : { detail: body.detail || body.title || `The server answers ${answer.status}.` };
  } catch (error) {
    return { detail: error.name === "TimeoutError" ? "No answer in time: the server or its database is too slow."
      : "The server does not answer." };
  }
}

const number = (value) => value.toLocaleString("en-US");
const light = (id) => lights.find((candidate) => candidate.id === id);

function showHeadline() {
  const bad = lights.filter(({ level }) => level === "bad").length;
  const warn = lights.filter(({ level }) => level === "warn").length;
  const headline = place("headline");
  headline.className = `dash-headline ${bad ? "bad" : warn ? "warn" : "ok"}`;
  const parts = [bad && `${bad} ${bad === 1 ? "thing needs" : "things need"} somebody`, warn && `${warn} to keep an eye on`];
  say(headline, parts.filter(Boolean).join(", ") || "All is well");
}

function alarm({ level, title, value, meaning, remedy, links, docs_anchor: anchor }) {
  const item = element("li", level);
  item.append(element("b", "", value ? `${title}: ${value}` : title), element("p", "what", meaning));
  if (remedy) item.append(element("p", "do", remedy));
  const act = element("div", "act");
  for (const { words, href } of links) {
    const button = element("a", "", words);
    button.href = href;
    act.append(button);
  }
  act.append(element("span", "doc", `docs/operations.md#${anchor}`));
  item.append(act);
  return item;
}

/* A list is only drawn anew when something in it changed: a person may be about to click in it. */
function redraw(list, items, draw) {
  const text = JSON.stringify(items);
  if (list.dataset.shown === text) return;
  list.dataset.shown = text;
  list.replaceChildren(...items.map(draw));
}

function showLights() {
  showHeadline();
  const byLevel = [...lights].sort((one, other) => ORDER[one.level] - ORDER[other.level]);
  redraw(place("alarms"), byLevel.filter(({ level }) => level !== "ok"), alarm);
  redraw(place("lights"), lights, ({ level, title, value }) => {
    const item = element("li", level);
    item.append(element("span", "", title), element("span", "dash-soft", value));
    item.append(element("span", "dash-unseen", { ok: "in order", warn: "to keep an eye on", bad: "needs somebody" }[level]));
    return item;
  });
}

/* A light's number in front of what is said about it: "3, the oldest for 5 s". */
const head = (id) => (light(id) ? light(id).value.split(",")[0].split(" ")[0] : "…");
const waiting = (id) => (!light(id) ? "" : head(id) === "0" ? "nothing waits" : `waiting: ${light(id).value}`);

function showFunnel() {
  if (!sums) return;
  const { submitted, sent, settled, failed } = sums.totals;
  const stuck = Number.parseInt(head("results_stuck"), 10) || 0;
  const late = Number.parseInt(head("results_waiting"), 10) || 0;
  const about = sums.exact ? "" : "≈ ";
  const tiles = [
    ["step", "Submitted", about + number(submitted), "by API clients"],
    ["step", "Sent", about + number(sent), waiting("events_waiting"), light("events_waiting")],
    ["step", "Processed", about + number(settled + stuck + late), "the Consumer has answered"],
    ["step", "Applied", about + number(settled), failed ? `${about}${number(failed)} of them failed` : waiting("results_waiting"),
      light("results_waiting")],
    ["", "Dead", head("events_dead"), "events given up, ever", light("events_dead")],
    ["", "Overdue", head("overdue"), "no result in time, now", light("overdue")],
  ].map(([kind, name, value, words, of]) => ({ kind, name, value, words, level: of ? of.level : "ok", link: of && of.links[0] }));
  redraw(place("funnel"), tiles, ({ kind, name, value, words, level, link }) => {
    const tile = element("li", `${kind} ${level}`);
    tile.append(element("span", "name", name), element("span", "number", value));
    if (link && level !== "ok") {
      const anchor = element("a", "dash-soft", words);
      anchor.href = link.href;
      tile.append(anchor);
    } else tile.append(element("span", "dash-soft", words));
    return tile;
  });
  say(place("exactness"), sums.exact ? "" : "≈ More traffic than is counted one by one: projected from the first of each stretch.");
}

function showReasons() {
  redraw(place("reasons"), sums.reasons, ({ what, state, reason, count, href }) => {
    const row = element("tr");
    const first = element("td");
    const anchor = element("a", "", `${what}: ${state}`);
    anchor.href = href;
    first.append(anchor);
    row.append(first, element("td", "", reason || "no reason given"), element("td", "", number(count)));
    return row;
  });
  place("no-reasons").hidden = sums.reasons.length > 0;
}

function showWindow() {
  showFunnel();
  showReasons();
  drawCharts(root, sums);
}

function showTrouble() {
  const text = [...new Set(Object.values(trouble).filter(Boolean))].join(" ");
  say(place("trouble"), text && `${text}${freshAt ? ` What you see is of ${utc(freshAt)} UTC.` : ""}`);
  root.classList.toggle("stale", Boolean(text));
  if (!text) say(place("freshness"), `As of ${utc(freshAt)} UTC, every ${NOW_MS / 1000} s`);
  else if (!freshAt) say(place("headline"), "Nothing can be read");
}

function take(part, answer, use) {
  trouble[part] = answer.detail || "";
  if (answer.body) {
    freshAt = Date.now();
    use(answer.body);
  }
  showTrouble();
}

/* One question at a time per part, none while nobody looks, and at once when somebody looks again. */
function keep(part, pause, address, use) {
  let timer = 0;
  let asking = false;
  async function turn() {
    clearTimeout(timer);
    if (document.hidden || asking) return;
    asking = true;
    const asked = address();
    const answer = await read(asked);
    asking = false;
    if (asked !== address()) {
      turn();
      return;
    }
    take(part, answer, use);
    timer = setTimeout(turn, pause);
  }
  document.addEventListener("visibilitychange", turn);
  turn();
  return turn;
}

keep("now", NOW_MS, () => root.dataset.now, (body) => {
  lights = body.lights;
  showLights();
  showFunnel();
});
const lookAgain = keep("window", WINDOW_MS, () => root.dataset.window.replace(/0$/, minutes.value), (body) => {
  sums = body;
  showWindow();
});
minutes.addEventListener("change", lookAgain);
// The theme can be switched at any time; the charts take their colours from it.
new MutationObserver(() => { if (sums) drawCharts(root, sums); }).observe(document.documentElement, { attributeFilter: ["class"] });
