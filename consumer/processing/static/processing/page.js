/* Submits the form and keeps the list fresh. Rows are changed in place, so that focus and place on the page stay. */

import { call, element, explain, isSettled, money, poll, say, showConnection, story } from "./live.js";

const { transactions: endpoint, pages } = document.body.dataset;
const form = document.getElementById("form");
const list = document.getElementById("list");
const listMessage = document.getElementById("list-message");
const listCount = document.getElementById("list-count");
const formMessage = document.getElementById("form-message");
const rows = new Map();
let followed = "";
let first = true;

function makeRow(id) {
  const item = element("li");
  const link = element("a", "row");
  link.href = pages + id;
  const parts = { money: element("span", "money"), badge: element("span"), detail: element("span", "detail clip"),
    story: element("span", "story"), time: element("time", "detail end") };
  link.append(parts.money, parts.badge, parts.detail, parts.story, parts.time);
  item.append(link);
  return { item, parts, text: "" };
}

function fillRow(row, txn) {
  const text = JSON.stringify(txn);
  if (text === row.text) return;
  row.text = text;
  const { parts } = row;
  parts.money.textContent = money(txn);
  parts.badge.className = `badge ${txn.status}${txn.overdue ? " overdue" : ""}`;
  parts.badge.textContent = txn.status;
  parts.detail.textContent = [txn.account_number, txn.description].filter(Boolean).join(" · ");
  parts.story.textContent = story(txn);
  parts.story.className = `story ${txn.status}`;
  parts.time.dateTime = txn.created_at;
  parts.time.textContent = new Date(txn.created_at).toLocaleTimeString();
}

function show(data) {
  const wanted = new Set(data.map((txn) => txn.id));
  for (const [id, row] of rows) {
    if (!wanted.has(id)) {
      row.item.remove();
      rows.delete(id);
    }
  }
  data.forEach((txn, place) => {
    if (!rows.has(txn.id)) {
      rows.set(txn.id, makeRow(txn.id));
      if (!first) rows.get(txn.id).item.className = "new";
    }
    const row = rows.get(txn.id);
    fillRow(row, txn);
    if (list.children[place] !== row.item) list.insertBefore(row.item, list.children[place] || null);
  });
  first = false;
}

function count(data) {
  if (!data.length) return "";
  const groups = [["succeeded", ["succeeded"]], ["failed", ["failed"]], ["canceled", ["canceled"]],
    ["waiting", ["pending", "processing"]]];
  const parts = groups.map(([name, statuses]) => [data.filter((txn) => statuses.includes(txn.status)).length, name]);
  const told = parts.filter(([number]) => number).map(([number, name]) => `${number} ${name}`);
  return `The newest ${data.length}: ${told.join(", ")}`;
}

/* What was just submitted is followed to its result, in words that a screen reader speaks as well. */
function follow(data) {
  const txn = data.find((candidate) => candidate.id === followed);
  if (!txn) return;
  const link = element("a", "", "See its timeline");
  link.href = pages + txn.id;
  const text = isSettled(txn) ? `${money(txn)} ${txn.status}: ${story(txn)}. ` : `Submitted ${money(txn)}. ${story(txn)}. `;
  if (formMessage.dataset.told !== text) {
    formMessage.dataset.told = text;
    formMessage.replaceChildren(text, link);
    formMessage.className = isSettled(txn) ? txn.status : "";
    formMessage.hidden = false;
  }
  if (isSettled(txn)) followed = "";
}

const refresh = poll(async () => {
  const reply = await call(endpoint);
  const live = reply.ok && Array.isArray(reply.body.data);
  showConnection(live);
  if (!live) {
    say(listMessage, explain(reply) + (rows.size ? " What you see may be old." : ""), true);
    return;
  }
  const { data } = reply.body;
  show(data);
  say(listCount, count(data), false);
  say(listMessage, data.length ? "" : "No transactions yet. Submit the first one.", false);
  follow(data);
});

function clearErrors() {
  for (const place of form.querySelectorAll(".error")) place.textContent = "";
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

/* Each error goes next to the field that its JSON Pointer names; the rest stays below the button. */
function showErrors(errors) {
  const rest = [];
  let firstField = null;
  for (const error of errors) {
    const name = String(error.pointer || "").replace(/^#?\//, "").split("/")[0];
    const place = document.getElementById(`${name}-error`);
    const field = form.querySelector(`[name="${CSS.escape(name)}"]`);
    if (!place || !field) {
      rest.push(error.detail);
      continue;
    }
    place.textContent = error.detail;
    field.setAttribute("aria-invalid", "true");
    firstField = firstField || field;
  }
  if (firstField) firstField.focus();
  return rest;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  clearErrors();
  followed = "";
  delete formMessage.dataset.told;
  say(formMessage, "Submitting…", false);
  const { csrfmiddlewaretoken: token, ...fields } = Object.fromEntries(new FormData(form));
  const reply = await call(endpoint, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": token },
    body: JSON.stringify(fields),
  });
  button.disabled = false;
  if (reply.body.next_idempotency_key) form.elements.idempotency_key.value = reply.body.next_idempotency_key;
  if (reply.ok) {
    form.elements.external_id.value = "";
    followed = reply.body.id;
    follow([reply.body]);
    refresh();
  } else {
    const errors = Array.isArray(reply.body.errors) ? reply.body.errors : [];
    const rest = showErrors(errors);
    formMessage.className = "";
    say(formMessage, [explain(reply), ...rest].join(" "), true);
  }
});
