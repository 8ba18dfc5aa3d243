// Asks for the state every second while somebody looks, and shows it.

const EVERY = 1000;
/** rsp's own time, of the last answer. */
let now = 0;
let last = null;
let mayChange = false;
let isPaused = false;
let isAsking = false;
let timer = 0;
let failedSince = null;

const inFilter = byId("filter");

const isFiltering = () => byId("only").checked || inFilter.value.trim() !== "";

function isShown(pool, server) {
  if (byId("only").checked && server.state === "up") return false;
  const words = inFilter.value.trim().toLowerCase();
  const texts = [`${pool.name}/${server.name}`, server.address, server.state];
  return words === "" || texts.some((text) => text.toLowerCase().includes(words));
}

/** How much a number grew a second since the last poll; `null` if there was none to this process. */
function growth(state) {
  const passed = last?.started === state.started ? state.time - last.time : 0;
  return (number, before) => (passed > 0 && before !== undefined ? Math.max(0, number - before) / passed : null);
}

function show(state) {
  const grew = growth(state);
  if (last && last.started !== state.started) say("rsp was started again: counters begin at 0.");
  now = state.time;
  mayChange = state.config.can_change;
  document.body.classList.toggle("locked", !mayChange);
  showLock();
  showHead(state);
  showProblems(state);
  showTiles(state, (of) => grew(of(state), last ? of(last) : undefined));
  showPools(state);
  const before = serversOf(last);
  pushLines(state, before, grew);
  speakChanges(state, before);
  showTables(state);
  last = state;
}

function showPools(state) {
  let shown = 0;
  each(byId("pools"), state.pools, (pool) => pool.name, makePool, (part, pool) => {
    const fits = updatePool(part, pool, isShown);
    shown += fits;
    part.node.hidden = fits === 0 && isFiltering();
  });
  const all = state.pools.flatMap((pool) => pool.servers);
  const up = all.filter((server) => server.state === "up").length;
  const filtered = isFiltering() ? `, ${count(shown)} shown` : "";
  setText(byId("summary"), `${plural(state.pools.length, "pool")}, ${up} of ${plural(all.length, "server")} up${filtered}`);
}

/** By pool and name. */
function serversOf(state) {
  const servers = new Map();
  for (const pool of state?.pools ?? []) {
    for (const server of pool.servers) servers.set(`${pool.name} ${server.name}`, server);
  }
  return servers;
}

/** The line of each pool and server goes on. */
function pushLines(state, before, grew) {
  const pools = partsOf.get(byId("pools"));
  const old = new Map((last?.pools ?? []).map((pool) => [pool.name, pool.requests]));
  for (const pool of state.pools) {
    const part = pools.get(pool.name);
    part.spark.push(grew(pool.requests, old.get(pool.name)));
    const rows = partsOf.get(part.body);
    for (const server of pool.servers) {
      const was = before.get(`${pool.name} ${server.name}`);
      rows.get(server.name)?.spark.push(grew(server.requests, was?.requests));
    }
  }
}

function showHead(state) {
  const serves = state.stage === "serving" && state.ready;
  const stage = byId("stage");
  setText(stage, state.stage === "serving" ? (state.ready ? "serving" : "serving, not ready") : state.stage);
  stage.className = serves ? "badge up" : "badge down";
  const facts = [
    ["Version", state.version], ["Up", duration(state.uptime_seconds)], ["Config", count(state.config.generation)],
    ["Workers", count(state.workers)],
  ];
  const make = () => {
    const [name, value] = [element("dt"), element("dd")];
    return { node: element("div", {}, name, value), name, value };
  };
  each(byId("facts"), facts, ([name]) => name, make, (part, [name, value]) => {
    setText(part.name, name);
    setText(part.value, value);
  });
  setText(byId("window"), `Rates and latencies: the last ${Math.round(state.window_seconds)} s. In and Out: bytes of bodies, from clients and to them.`);
  const down = state.pools.flatMap((pool) => pool.servers).filter((server) => ["down", "ejected"].includes(server.state)).length;
  document.title = `${down > 0 ? `(${down} down) ` : ""}rsp ${location.host}`;
}

/** For screen readers: which servers came into another state. */
function speakChanges(state, before) {
  const found = [];
  for (const [name, server] of serversOf(state)) {
    const was = before.get(name);
    if (was && was.state !== server.state) found.push(`${name.replace(" ", "/")} is ${server.state}`);
  }
  const text = found.length > 3 ? `${found.length} servers changed their state` : found.join(", ");
  if (text) setText(byId("spoken"), text);
}

function showFailure(text) {
  document.body.classList.add("stale");
  const stage = byId("stage");
  setText(stage, "unreachable");
  stage.className = "badge down";
  const banner = byId("unreachable");
  setText(banner, text);
  banner.hidden = false;
  document.title = `(unreachable) rsp ${location.host}`;
}

function showNoAnswer(error) {
  failedSince ??= Date.now() / 1000;
  const why = error.name === "TimeoutError" ? "it takes too long" : error.message;
  const then = last ? ` What is shown is from ${moment(last.time)}.` : "";
  showFailure(`No answer from rsp since ${moment(failedSince)} (${why}).${then} Trying again.`);
}

function showAnswer(state) {
  failedSince = null;
  try {
    show(state);
    byId("unreachable").hidden = true;
    document.body.classList.remove("stale");
  } catch (error) {
    // Another version of rsp runs now, with another page.
    showFailure(`This page cannot show what rsp answers (${error.message}): load it again.`);
  }
}

async function ask() {
  const response = await fetch("api/state", { cache: "no-store", signal: AbortSignal.timeout(5000) });
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.json();
}

/** Asks now, and then every second; never twice at a time. */
async function poll() {
  if (isAsking) return;
  clearTimeout(timer);
  isAsking = true;
  const start = performance.now();
  await ask().then(showAnswer, showNoAnswer);
  isAsking = false;
  const took = performance.now() - start;
  if (!document.hidden && !isPaused) timer = setTimeout(poll, Math.max(EVERY - took, took * 2, 200));
}

byId("pause").addEventListener("click", (event) => {
  isPaused = !isPaused;
  setAttribute(event.target, "aria-pressed", String(isPaused));
  setText(event.target, isPaused ? "Resume" : "Pause");
  document.body.classList.toggle("paused", isPaused);
  if (isPaused) clearTimeout(timer);
  else poll();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !isPaused) poll();
});
for (const input of [inFilter, byId("only")]) input.addEventListener("input", () => last && showPools(last));
setText(byId("place"), location.host);
poll();
