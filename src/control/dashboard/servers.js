// Pools and their servers: a table a pool, a row a server.

const STATES = { unchecked: "not checked yet" };
/** Those which the row says, by name of the column; on a phone each cell shows the name of its own. */
const COLUMNS = [
  ["Server", "name"], ["State", "state"], ["Requests/s", "number rate"], ["4xx/s", "number"], ["5xx/s", "number"],
  ["In flight", "number flight"], ["Out/s", "number bytes"], ["Failures", "failures"], ["Weight", "weight"],
  ["Set by hand", "actions"],
];
const FIGURES = [
  "Requests/s", "4xx/s", "5xx/s", "p50", "p95", "p99", "In flight", "Queue", "Retries", "Out/s",
];

/** A pool's section. */
function makePool(pool) {
  const title = element("h3", {}, pool.name);
  const meta = element("p", { class: "meta" });
  const spark = sparkline();
  const figures = FIGURES.map((name) => {
    const value = element("dd");
    return { value, node: element("div", {}, element("dt", {}, name), value) };
  });
  const heads = COLUMNS.map(([name, kind]) => element("th", { scope: "col", role: "columnheader", class: kind }, name));
  const body = element("tbody", { role: "rowgroup" });
  const table = element(
    "table", { role: "table", class: "servers" },
    element("caption", { class: "hidden" }, `Servers of ${pool.name}`),
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...heads)), body,
  );
  const none = element("p", { class: "none" }, "No servers.");
  const node = element(
    "section", { class: "card pool", "aria-label": `Pool ${pool.name}` },
    element("div", { class: "head" }, element("div", {}, title, meta), spark.node),
    element("dl", { class: "figures" }, ...figures.map((figure) => figure.node)), table, none,
  );
  return { node, meta, spark, figures, body, table, none };
}

/** Returns how many of its servers are shown; rows of the others are hidden and go on. */
function updatePool(part, pool, isShown) {
  const up = pool.servers.filter((server) => server.state === "up").length;
  const says = [pool.balance, pool.health && "health checks", `${up} of ${plural(pool.servers.length, "server")} up`];
  setText(part.meta, says.filter(Boolean).join(" · "));
  part.node.classList.toggle("bad", up === 0);
  const { p50, p95, p99 } = pool.latency_ms;
  const queue = pool.queue_most ? `${count(pool.queue)} of ${count(pool.queue_most)}` : count(pool.queue);
  const retries = pool.retry_rate > 0 ? `${count(pool.retries)} (${rate(pool.retry_rate)}/s)` : count(pool.retries);
  const texts = [
    rate(pool.rates.requests), rate(pool.rates["4xx"]), rate(pool.rates["5xx"]), milliseconds(p50), milliseconds(p95),
    milliseconds(p99), count(pool.in_flight), queue, retries, bytes(pool.byte_rates.out),
  ];
  texts.forEach((text, index) => setText(part.figures[index].value, text));
  part.figures[2].node.classList.toggle("alert", pool.rates["5xx"] > 0);
  part.figures[7].node.classList.toggle("alert", pool.queue > 0);
  part.table.hidden = pool.servers.length === 0;
  part.none.hidden = pool.servers.length > 0;
  let shown = 0;
  each(part.body, pool.servers, (server) => server.name, (server) => makeServer(pool.name, server), (row, server) => {
    row.node.hidden = !isShown(pool, server);
    shown += row.node.hidden ? 0 : 1;
    updateServer(row, server);
  });
  return shown;
}

function makeServer(pool, { name }) {
  const label = `${pool}/${name}`;
  const parts = { address: element("small"), tags: element("span", { class: "tags" }) };
  parts.shape = icon();
  parts.word = element("span", { class: "word" });
  parts.why = element("small");
  parts.spark = sparkline();
  const [texts, more] = [{}, { "In flight": element("small"), "Out/s": element("small") }];
  const cells = COLUMNS.map(([title, kind]) => {
    const cell = element("td", { role: "cell", class: kind, "data-title": title });
    if (/number|failures/.test(kind)) cell.append((texts[title] = element("span", { class: "main" })));
    if (more[title]) cell.append(more[title]);
    return cell;
  });
  cells[0] = element(
    "th", { scope: "row", role: "rowheader", class: "name" },
    element("span", { class: "text" }, name), parts.tags, parts.address,
  );
  cells[1].append(element("span", { class: "is" }, parts.shape.node, parts.word), parts.why);
  cells[2].prepend(parts.spark.node);
  const weight = makeWeight(pool, name, label);
  cells[8].append(weight.node);
  const buttons = makeButtons(pool, name, label);
  cells[9].append(buttons.node);
  const node = element("tr", { role: "row" }, ...cells);
  return { ...parts, node, texts, more, weight, buttons };
}

function updateServer(part, server) {
  part.node.className = server.state;
  part.shape.show(server.state);
  setText(part.word, STATES[server.state] ?? server.state);
  const reason = server.reason === "config" || server.reason === "start" ? "" : server.reason;
  setText(part.why, [reason, `for ${duration(now - server.since, 1)}`].filter(Boolean).join(", "));
  setText(part.address, server.address === server.name ? "" : server.address);
  setText(part.tags, server.backup ? "backup" : "");
  const { busy, idle } = server.connections;
  const most = server.max_connections ? ` of ${count(server.max_connections)}` : "";
  const failures = [["connect", server.connect_errors], ["response", server.response_errors], ["check", server.failed_checks]];
  const failed = failures.filter(([, number]) => number > 0).map(([what, number]) => `${count(number)} ${what}`);
  const texts = {
    "Requests/s": rate(server.rates.requests),
    "4xx/s": rate(server.rates["4xx"]),
    "5xx/s": rate(server.rates["5xx"]),
    "In flight": count(server.in_flight) + most,
    "Out/s": bytes(server.byte_rates.out),
    Failures: failed.join(", ") || "none",
  };
  for (const [title, text] of Object.entries(texts)) {
    setText(part.texts[title], text);
    part.texts[title].classList.toggle("zero", ["0", "0 B", "none"].includes(text));
  }
  setText(part.more["In flight"], busy + idle > 0 ? `${count(busy)} busy, ${count(idle)} idle` : "");
  setText(part.more["Out/s"], server.byte_rates.in > 0 ? `in ${bytes(server.byte_rates.in)}` : "");
  part.texts["5xx/s"].classList.toggle("alert", server.rates["5xx"] > 0);
  part.weight.update(server);
  part.buttons.update(server);
}

/** The weight, to be changed. What somebody types is left alone until it is sent. */
function makeWeight(pool, name, label) {
  const text = element("span");
  const input = element("input", {
    type: "number", min: "0", max: "256", step: "1", inputmode: "numeric", "aria-label": `Weight of ${label}`,
  });
  const button = element("button", { type: "button", "aria-label": `Set the weight of ${label}` }, "Set");
  const configured = element("small");
  const node = element("span", { class: "edit" }, text, input, button, configured);
  let weight = "";
  const compare = () => (button.hidden = input.value === weight);
  const send = async () => {
    if (input.value === weight) return;
    if (input.value === "" || !input.checkValidity()) return say("The weight is a whole number from 0 to 256.", true);
    await change(pool, name, { weight: Number(input.value) });
  };
  input.addEventListener("input", compare);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") send();
    if (event.key === "Escape") input.value = weight;
    compare();
  });
  button.addEventListener("click", () => {
    input.focus();
    send();
  });
  const update = (server) => {
    const isSame = input.value === weight;
    weight = String(server.weight);
    if (isSame) input.value = weight;
    compare();
    text.hidden = mayChange;
    input.hidden = !mayChange;
    if (!mayChange) button.hidden = true;
    setText(text, weight);
    setText(configured, server.weight === server.configured_weight ? "" : `config ${server.configured_weight}`);
  };
  return { node, update };
}

/** What there is to press; the one that holds is pressed. */
function makeButtons(pool, name, label) {
  const make = (state, title) => {
    const button = element("button", { type: "button", title }, state);
    button.setAttribute("aria-label", `${state} ${label}`);
    button.addEventListener("click", () => change(pool, name, { state }));
    return [state, button];
  };
  const buttons = [
    make("ready", "As the config says"),
    make("drain", "Only sticky requests and those that name it"),
    make("maint", "No requests at all"),
  ];
  const node = element("span", { class: "segments", role: "group", "aria-label": `State of ${label}` });
  node.append(...buttons.map(([, button]) => button));
  const update = (server) => {
    const set = ["drain", "maint"].includes(server.state) ? server.state : server.state === "disabled" ? "" : "ready";
    buttons.forEach(([state, button]) => setAttribute(button, "aria-pressed", String(state === set)));
  };
  return { node, update };
}
