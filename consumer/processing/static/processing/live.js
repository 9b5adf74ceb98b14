/* What both pages share: calls, words, elements. All text goes in by textContent: nothing that a bank writes becomes HTML. */

const POLL_MS = 1500;
const POLL_SLOW_MS = 15000;

/* An answer of any kind becomes {ok, status, body}; a failure brings a sentence for people. */
export async function call(address, options) {
  try {
    const response = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(10000), ...options });
    const body = await response.json().catch(() => ({}));
    return { ok: response.ok, status: response.status, body };
  } catch {
    return { ok: false, status: 0, body: { detail: "This page's own server does not answer." } };
  }
}

export function explain(reply) {
  return reply.body.detail || reply.body.title || `Answer ${reply.status}.`;
}

export function say(element, text, bad) {
  if (element.textContent !== text) element.textContent = text;
  element.classList.toggle("bad", Boolean(bad));
  element.hidden = text === "";
}

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/* Digits in threes, as text: an amount never becomes a number here, floats would change it. */
export function money(txn) {
  const [whole, fraction] = txn.amount.split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, "\u202f");
  return `${txn.direction === "debit" ? "−" : "+"}${grouped}${fraction ? `.${fraction}` : ""} ${txn.currency}`;
}

export function isSettled(txn) {
  return ["succeeded", "failed", "canceled"].includes(txn.status);
}

/* The reasons of a result, or what the transaction still waits for. */
export function story(txn) {
  if (txn.error) return txn.error.message || txn.error.code;
  const reasons = txn.processed_data && txn.processed_data.reasons;
  if (Array.isArray(reasons) && reasons.length) return `Passed, with a note: ${reasons.join(", ").replaceAll("_", " ")}`;
  if (txn.status === "succeeded") return "All checks passed";
  if (txn.status === "canceled") return "Canceled";
  return txn.overdue ? "Waits for its result, and is overdue" : "Waits for its result";
}

/* Runs `look` now and again and again, seldom while nobody looks or it says that nothing will change any more. */
export function poll(look) {
  let timer = 0;
  let calm = false;
  async function turn() {
    clearTimeout(timer);
    calm = Boolean(await look());
    clearTimeout(timer);
    timer = setTimeout(turn, document.hidden || calm ? POLL_SLOW_MS : POLL_MS);
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) turn(); });
  turn();
  return turn;
}

export function showConnection(live) {
  const place = document.getElementById("connection");
  say(place, live ? "Live" : "Not live", !live);
  place.classList.toggle("live", live);
}
