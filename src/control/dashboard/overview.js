// What concerns all pools: tiles, problems, and the tables at the foot.

const TILES = {};

function makeTile(id, name, tone = "", least = 1) {
  const value = element("span", { class: "value" });
  const more = element("span", { class: "more" });
  const spark = sparkline(tone, least);
  const node = element("div", { class: "tile", id: `tile-${id}` }, element("dt", {}, name));
  node.append(element("dd", {}, value, more, spark.node));
  byId("tiles").append(node);
  TILES[id] = { node, value, more, spark };
}

makeTile("requests", "Requests");
makeTile("errors", "Errors (5xx)", "bad");
makeTile("latency", "Latency (p95)");
makeTile("flight", "In flight");
makeTile("clients", "Clients");
makeTile("traffic", "Traffic to clients");
makeTile("process", "CPU", "", 0.1);

function showTile(id, value, more, spark) {
  setText(TILES[id].value, value);
  setText(TILES[id].more, more);
  TILES[id].spark.push(spark);
}

/** `since`: how much a number of the state grew since the last poll, a second; `null` after the first one. */
function showTiles(state, since) {
  const { totals, process } = state;
  const { rates, latency_ms: latency, bytes: moved } = totals;
  const lately = since((of) => of.totals.requests);
  showTile("requests", `${rate(rates.requests)}/s`, `${count(totals.requests)} since the start`, lately);
  showTile(
    "errors", `${rate(rates["5xx"])}/s`, `4xx ${rate(rates["4xx"])}/s`,
    since((of) => of.totals.classes["5xx"] ?? 0),
  );
  TILES.errors.node.classList.toggle("alert", rates["5xx"] > 0);
  const { p50, p95, p99 } = latency;
  showTile("latency", milliseconds(p95), `p50 ${milliseconds(p50)}, p99 ${milliseconds(p99)}`, p95 ?? 0);
  showTile("flight", count(totals.in_flight), `queue ${count(totals.queue)}`, totals.in_flight);
  TILES.flight.node.classList.toggle("alert", totals.queue > 0);
  const clients = totals.client_connections;
  showTile("clients", count(clients), `at ${plural(state.listeners.length, "listener")}`, clients);
  showTile(
    "traffic", `${bytes(moved.client_out_rate)}/s`, `from them ${bytes(moved.client_in_rate)}/s`,
    since((of) => of.totals.bytes.client_out),
  );
  const cpu = since((of) => of.process.cpu_seconds);
  showTile("process", cpu === null ? "–" : `${(cpu * 100).toFixed(0)} %`, `of a core; ${bytes(process.resident_bytes)}`, cpu);
}

const SOON = 14;

/** What an operator would look at first, worst first. */
function problemsOf(state) {
  const found = [];
  const add = (kind, text) => found.push({ kind, text });
  if (state.stage !== "serving") add("down", `rsp is ${state.stage}.`);
  for (const pool of state.pools) {
    const of = (word) => pool.servers.filter((server) => server.state === word);
    const up = of("up").length;
    if (up === 0 && pool.servers.length > 0) add("down", `${pool.name}: no server is up.`);
    for (const word of ["down", "ejected"]) {
      const servers = of(word);
      servers.slice(0, 3).forEach((server) => add(word, `${pool.name}/${server.name} is ${word}: ${server.reason}`));
      if (servers.length > 3) add(word, `${pool.name}: ${servers.length - 3} more are ${word}.`);
    }
    if (pool.queue > 0) add("ejected", `${pool.name}: ${plural(pool.queue, "request")} wait in the queue.`);
  }
  const [reload] = state.config.reloads;
  if (reload && !reload.successful) add("down", `The last reload failed: ${reload.error}`);
  for (const { name, days_left: days } of state.certificates) {
    if (days < SOON) add(days < 0 ? "down" : "ejected", `Certificate ${name} ${days < 0 ? "has expired" : `expires in ${days.toFixed(1)} days`}.`);
  }
  const { access_dropped: access, error_dropped: errors } = state.logs;
  if (access > 0) add("ejected", `${plural(access, "line")} of the access log lost.`);
  if (errors > 0) add("ejected", `${plural(errors, "line")} of the error log lost.`);
  for (const [name, { failures }] of Object.entries(state.script)) {
    const sum = Object.values(failures).reduce((a, b) => a + b, 0);
    if (sum > 0) add("ejected", `${name} failed ${plural(sum, "time")} since the start.`);
  }
  return found.sort((a, b) => (b.kind === "down") - (a.kind === "down"));
}

function showProblems(state) {
  const problems = problemsOf(state);
  byId("attention").hidden = problems.length === 0;
  const make = () => {
    const [shape, text] = [icon(), element("span")];
    return { node: element("li", {}, shape.node, text), shape, text };
  };
  const update = (part, { kind, text }) => {
    part.node.className = kind;
    part.shape.show(kind);
    setText(part.text, text);
  };
  const keyed = problems.map((problem, index) => ({ ...problem, index }));
  each(byId("problems"), keyed, (problem) => problem.index, make, update);
}

/** A table in a card; hidden while it has no rows. `columns`: name, and whether it is a number. */
function makeTable(title, columns) {
  const id = `table-${title.toLowerCase().replaceAll(" ", "-")}`;
  const heads = columns.map(([name, isNumber]) => element("th", { scope: "col", class: isNumber ? "number" : "" }, name));
  const body = element("tbody");
  const table = element("table", { "aria-labelledby": id }, element("thead", {}, element("tr", {}, ...heads)), body);
  const scroll = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": id }, table);
  const node = element("section", { class: "card", "aria-labelledby": id }, element("h2", { id }, title), scroll);
  byId("tables").append(node);
  const make = () => {
    const cells = columns.map(([, isNumber], index) =>
      index === 0 ? element("th", { scope: "row" }) : element("td", { class: isNumber ? "number" : "" }));
    return { node: element("tr", {}, ...cells), cells };
  };
  const update = (part, { texts, tone }) => {
    part.node.className = tone ?? "";
    texts.forEach((text, index) => setText(part.cells[index], String(text ?? "")));
  };
  return (rows) => {
    node.hidden = rows.length === 0;
    each(body, rows.map((row, index) => ({ ...row, index })), (row) => row.index, make, update);
  };
}

const CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const numbers = (...names) => names.map((name) => [name, true]);
const TABLES = {
  answers: makeTable("Responses since the start", [["By"], ...numbers(...CLASSES, "All")]),
  listeners: makeTable("Listeners", [["Listener"], ...numbers("Clients", "Accepted", "Requests/s", "4xx/s", "5xx/s", "In/s", "Out/s")]),
  script: makeTable("Script", [["Function"], ...numbers("Calls", "Mean", "p50", "p95", "p99", "Failures")]),
  certificates: makeTable("Certificates", [["Name"], ["Expires"], ["Left", true]]),
  reloads: makeTable("Reloads", [["At"], ["Result"], ["Config", true], ["Why not"]]),
  ends: makeTable("Ends of requests", [["How"], ["Count", true]]),
  hosts: makeTable("Busiest hosts", [["Host"], ...numbers("Requests", "4xx", "5xx")]),
  errors: makeTable("Malformed messages", [["At"], ["Of"], ["What"], ["Line"]]),
  process: makeTable("Process", [["What"], ["Value", true]]),
};

const classTexts = (classes) => {
  const counts = CLASSES.map((name) => classes[name] ?? 0);
  return [...counts, counts.reduce((a, b) => a + b, 0)].map(count);
};

function showTables(state) {
  const { totals, process, logs, tls_handshakes: tls } = state;
  const byPool = state.pools.map((pool) => ({ texts: [pool.name, ...classTexts(pool.classes)] }));
  TABLES.answers([
    ...byPool, { texts: ["rsp itself", ...classTexts(totals.own)] },
    { texts: ["all", ...classTexts(totals.classes)], tone: "sum" },
  ]);
  TABLES.listeners(state.listeners.map(({ name, connections, accepted, rates, byte_rates: moved }) => ({
    texts: [
      name || "(gone)", count(connections), count(accepted), rate(rates.requests), rate(rates["4xx"]), rate(rates["5xx"]),
      bytes(moved.in), bytes(moved.out),
    ],
  })));
  const used = Object.entries(state.script).filter(([, of]) => of.calls > 0);
  TABLES.script(used.map(([name, { calls, mean_us, p50_us, p95_us, p99_us, failures }]) => {
    const failed = Object.entries(failures).filter(([, number]) => number > 0);
    const why = failed.map(([what, number]) => `${count(number)} ${what}`).join(", ");
    return { texts: [name, count(calls), ...[mean_us, p50_us, p95_us, p99_us].map(microseconds), why || "none"], tone: why && "warn" };
  }));
  TABLES.certificates(state.certificates.map(({ name, expires, days_left: days }) => ({
    texts: [name, moment(expires, true), days < 0 ? "expired" : days < SOON ? `only ${days.toFixed(1)} d` : `${Math.floor(days)} d`],
    tone: days < 0 ? "bad" : days < SOON ? "warn" : "",
  })));
  TABLES.reloads(state.config.reloads.map(({ at, successful, generation, error }) => ({
    texts: [moment(at), successful ? "in use" : "failed", generation, error ?? ""], tone: successful ? "" : "bad",
  })));
  const ends = Object.entries(state.ends).filter(([, number]) => number > 0).sort((a, b) => b[1] - a[1]);
  TABLES.ends(ends.map(([how, number]) => ({ texts: [how, count(number)] })));
  TABLES.hosts((state.hosts ?? []).filter((of) => of.requests > 0).map(({ host, requests, classes }) => ({
    texts: [host, count(requests), count(classes["4xx"] ?? 0), count(classes["5xx"] ?? 0)],
  })));
  TABLES.errors(state.errors.map(({ at, side, peer, pool, server, what, line }) => ({
    texts: [moment(at), side === "response" && pool ? `${side} of ${pool}/${server}` : `${side} of ${peer ?? "?"}`, what, line],
  })));
  const facts = [
    ["Process id", state.pid], ["Threads", process.threads], ["Memory", bytes(process.resident_bytes)],
    ["Open files", `${count(process.open_fds)} of ${count(process.max_fds)}`], ["CPU time", duration(process.cpu_seconds)],
    ["TLS handshakes", `${count(tls.full)} full, ${count(tls.resumed)} resumed, ${count(tls.failed)} failed`], ["Access log lines lost", count(logs.access_dropped)],
    ["Error log lines lost", count(logs.error_dropped)],
  ];
  TABLES.process(facts.map((texts) => ({ texts })));
}
