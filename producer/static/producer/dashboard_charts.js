/* Two line charts with the Chart.js that the theme brings along; drawn in place, without animation, in words as well. */

/* global Chart */

const charts = {};

function colours(root) {
  const style = getComputedStyle(root);
  const read = (name) => style.getPropertyValue(name).trim();
  return { blue: read("--blue"), teal: read("--teal"), amber: read("--amber"), soft: read("--soft"), edge: read("--edge") };
}

function line(label, data, colour, dash) {
  return { label, data, borderColor: colour, backgroundColor: colour, borderWidth: 2, borderDash: dash, pointHitRadius: 12,
    // A point without neighbours would be no line.
    pointRadius: ({ dataIndex: at }) => (data[at] !== null && data[at - 1] == null && data[at + 1] == null ? 3 : 0),
    cubicInterpolationMode: "monotone", spanGaps: false };
}

function draw(id, labels, datasets, { soft, edge }) {
  const axis = { ticks: { color: soft, maxTicksLimit: 6, maxRotation: 0 }, grid: { color: edge }, border: { color: edge } };
  const options = {
    animation: false,
    maintainAspectRatio: false,
    interaction: { mode: "index", intersect: false },
    plugins: { legend: { position: "bottom", labels: { color: soft, boxWidth: 14, boxHeight: 2 } } },
    scales: { x: { ...axis, grid: { display: false } }, y: { ...axis, beginAtZero: true, suggestedMax: 1 } },
  };
  if (!charts[id]) {
    charts[id] = new Chart(document.getElementById(id), { type: "line", data: { labels, datasets }, options });
    return;
  }
  charts[id].data = { labels, datasets };
  charts[id].options = options;
  charts[id].update("none");
}

// As the logs, the API and every other page of the admin have it, wherever the browser is.
export function utc(at, seconds = true) {
  return new Date(at).toISOString().slice(11, seconds ? 19 : 16);
}

export function drawCharts(root, { stretches, latency, totals }) {
  const colour = colours(root);
  const short = new Date(stretches[1].at) - new Date(stretches[0].at) < 60000;
  const labels = stretches.map(({ at }) => utc(at, short));
  const of = (name) => stretches.map((stretch) => stretch[name]);
  const percentile = (name) => stretches.map((stretch) => (stretch.latency ? stretch.latency[name] : null));
  draw("rate", labels, [line("submitted", of("submitted"), colour.blue), line("sent", of("sent"), colour.amber, [6, 4]),
    line("have their result", of("settled"), colour.teal)], colour);
  draw("latency", labels, [line("half of them within (p50)", percentile("p50"), colour.teal),
    line("99 % within (p99)", percentile("p99"), colour.amber)], colour);
  const last = stretches[stretches.length - 1];
  document.getElementById("rate-words").textContent = totals.submitted
    ? `Now ${Math.round(last.submitted)} submitted, ${Math.round(last.sent)} sent a minute.` : "No transaction was submitted in this time.";
  document.getElementById("latency-words").textContent = latency
    ? `Half have their result within ${latency.p50} s, 99 % within ${latency.p99} s.` : "No result came in this time.";
}
