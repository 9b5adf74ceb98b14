/* One transaction: its facts, what the checks found, and its way through both systems; fresh until it is settled. */

import { call, element, explain, isSettled, money, poll, say, showConnection, story } from "./live.js";

const place = (id) => document.getElementById(id);
let shown = "";

function pairs(list, entries) {
  list.replaceChildren(...entries.filter(([, value]) => value).map(([name, value]) => {
    const pair = element("div");
    pair.append(element("dt", "", name), element("dd", "", value));
    return pair;
  }));
}

function since(start, at) {
  const seconds = (new Date(at) - start) / 1000;
  if (seconds < 0.001) return "";
  return seconds < 60 ? `+${seconds.toFixed(3)} s` : `+${Math.round(seconds)} s`;
}

function showTimeline(entries) {
  const start = entries.length ? new Date(entries[0].at) : null;
  place("way").hidden = !entries.length;
  place("timeline").replaceChildren(...entries.map((entry) => {
    const item = element("li", entry.tone);
    const time = element("time", "when", new Date(entry.at).toLocaleTimeString());
    time.dateTime = entry.at;
    time.title = entry.at;
    item.append(element("span", `side ${entry.side.toLowerCase()}`, entry.side), element("b", "", entry.title), time);
    item.append(element("span", "detail", entry.detail), element("span", "since", since(start, entry.at)));
    return item;
  }));
}

function took(txn) {
  if (!txn || !txn.processed_at) return "";
  return `Result after ${((new Date(txn.processed_at) - new Date(txn.created_at)) / 1000).toFixed(2)} s`;
}

function showTransaction(txn) {
  place("title").textContent = money(txn);
  const badge = place("status");
  badge.className = `badge ${txn.status}`;
  say(badge, txn.status, false);
  pairs(place("facts"), [
    ["Account", txn.account_number], ["Description", txn.description], ["Your reference", txn.external_id],
    ["Direction", txn.direction], ["Date", new Date(txn.transaction_date).toLocaleString()],
    ["Version", String(txn.version)], ["Result", story(txn)],
  ]);
  const data = txn.processed_data;
  const checks = data && typeof data.checks === "object" && data.checks ? data.checks : {};
  pairs(place("checks"), Object.entries(checks).map(([name, found]) => [name, String(found)]));
  say(place("error"), txn.error ? `${txn.error.code}: ${txn.error.message}` : "", true);
  place("verdict").hidden = !Object.keys(checks).length && !txn.error;
  say(place("took"), took(txn), false);
  place("details").hidden = false;
  place("raw").textContent = JSON.stringify(txn, null, 2);
}

poll(async () => {
  const reply = await call(document.body.dataset.transaction);
  // "Nobody knows it" is an answer, too.
  showConnection(reply.ok || reply.status === 404);
  if (!reply.ok) {
    say(place("message"), explain(reply) + (shown ? " What you see may be old." : ""), true);
    return false;
  }
  const { transaction, entries, notes } = reply.body;
  say(place("message"), notes.join(" "), true);
  const text = JSON.stringify(reply.body);
  if (text !== shown) {
    shown = text;
    if (transaction) showTransaction(transaction);
    showTimeline(entries);
  }
  return transaction && isSettled(transaction) && !entries.some((entry) => entry.tone === "waiting");
});
