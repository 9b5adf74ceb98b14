/* Submits the form and polls the list. All text goes in by textContent, so nothing that a bank writes becomes HTML. */
"use strict";

const POLL_MS = 1500;
const POLL_HIDDEN_MS = 15000;
const endpoint = document.body.dataset.transactions;
const form = document.getElementById("form");
const list = document.getElementById("list");
const listMessage = document.getElementById("list-message");
const connection = document.getElementById("connection");
const formMessage = document.getElementById("form-message");
let timer = 0;
let shown = "";

function say(element, text, bad) {
  element.textContent = text;
  element.classList.toggle("bad", Boolean(bad));
  element.hidden = text === "";
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/* An answer of any kind becomes {ok, body} or a sentence for people. */
async function call(options) {
  try {
    const response = await fetch(endpoint, { cache: "no-store", signal: AbortSignal.timeout(10000), ...options });
    const body = await response.json().catch(() => ({}));
    return { ok: response.ok, status: response.status, body };
  } catch {
    return { ok: false, status: 0, body: { detail: "This page's own server does not answer." } };
  }
}

function explain(reply) {
  return reply.body.detail || reply.body.title || `Answer ${reply.status}.`;
}

/* The reasons of a result, or what the transaction still waits for. */
function story(txn) {
  if (txn.error) return `${txn.error.code}: ${txn.error.message}`;
  const reasons = txn.processed_data && txn.processed_data.reasons;
  if (Array.isArray(reasons) && reasons.length) return `result: ${reasons.join(", ")}`;
  if (txn.status === "succeeded") return "result: all checks passed";
  if (txn.status === "canceled") return "canceled";
  return txn.overdue ? "waits for its result: overdue" : "waits for its result";
}

function row(txn) {
  const item = document.createElement("li");
  const sign = txn.direction === "debit" ? "−" : "+";
  item.append(
    element("span", "money", `${sign}${txn.amount} ${txn.currency}`),
    element("span", `badge ${txn.status}`, txn.status),
    element("span", "detail", [txn.account_number, txn.description].filter(Boolean).join(" · ")),
    element("span", "detail", `${story(txn)} · ${new Date(txn.created_at).toLocaleTimeString()}`),
  );
  return item;
}

async function refresh() {
  clearTimeout(timer);
  const reply = await call({});
  if (reply.ok && Array.isArray(reply.body.data)) {
    say(connection, "Live", false);
    const text = JSON.stringify(reply.body.data);
    if (text !== shown) {
      shown = text;
      list.replaceChildren(...reply.body.data.map(row));
    }
    say(listMessage, reply.body.data.length ? "" : "No transactions yet. Submit the first one.", false);
  } else {
    say(connection, "Not live", true);
    say(listMessage, explain(reply) + (shown ? " What you see may be old." : ""), true);
  }
  timer = setTimeout(refresh, document.hidden ? POLL_HIDDEN_MS : POLL_MS);
}

function clearErrors() {
  for (const place of form.querySelectorAll(".error")) place.textContent = "";
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

/* Each error goes next to the field that its JSON Pointer names; the rest stays below the button. */
function showErrors(errors) {
  const rest = [];
  let first = null;
  for (const error of errors) {
    const name = String(error.pointer || "").replace(/^#?\//, "").split("/")[0];
    const place = document.getElementById(`${name}-error`);
    if (!name || !place) {
      rest.push(error.detail);
      continue;
    }
    place.textContent = error.detail;
    form.elements[name].setAttribute("aria-invalid", "true");
    first = first || form.elements[name];
  }
  if (first) first.focus();
  return rest;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  clearErrors();
  say(formMessage, "Submitting…", false);
  const { csrfmiddlewaretoken: token, ...fields } = Object.fromEntries(new FormData(form));
  const reply = await call({
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": token },
    body: JSON.stringify(fields),
  });
  button.disabled = false;
  if (reply.body.next_idempotency_key) form.elements.idempotency_key.value = reply.body.next_idempotency_key;
  if (reply.ok) {
    form.elements.external_id.value = "";
    say(formMessage, `Submitted as ${reply.body.id}.`, false);
    refresh();
  } else {
    const rest = showErrors(Array.isArray(reply.body.errors) ? reply.body.errors : []);
    say(formMessage, [explain(reply), ...rest].join(" "), true);
  }
});

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
refresh();
