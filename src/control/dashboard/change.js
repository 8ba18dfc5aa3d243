// Changes of servers, with the token, and what came of them.

const STORED = "rsp-token";
let memory = "";

/** A browser may keep nothing. The token is never part of a URL. */
function storedToken() {
  try {
    return sessionStorage.getItem(STORED) ?? memory;
  } catch {
    return memory;
  }
}

function storeToken(token) {
  memory = token;
  try {
    if (token) sessionStorage.setItem(STORED, token);
    else sessionStorage.removeItem(STORED);
  } catch {
    // It is kept as long as the page is.
  }
  showLock();
}

function showLock() {
  const button = byId("unlock");
  button.hidden = !mayChange;
  setText(button, storedToken() ? "Forget token" : "Enter token");
}

/** Asks for the token; empty if nobody gives one. */
function askToken() {
  const dialog = byId("ask");
  const input = byId("token");
  const before = document.activeElement;
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    const end = () => {
      const token = dialog.returnValue === "use" ? input.value.trim() : "";
      input.value = "";
      if (token) storeToken(token);
      before?.focus?.();
      resolve(token);
    };
    dialog.addEventListener("close", end, { once: true });
  });
}

byId("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  byId("ask").close("use");
});
byId("ask-cancel").addEventListener("click", () => byId("ask").close(""));
byId("unlock").addEventListener("click", () => {
  if (!storedToken()) return askToken();
  storeToken("");
  say("The token is forgotten.");
});

/** Says something at the foot of the page; errors stay until they are closed. */
function say(text, isError = false) {
  const close = element("button", { type: "button", "aria-label": "Close this message" }, "×");
  const note = element("p", { class: isError ? "note error" : "note" }, element("span", {}, text), close);
  if (isError) note.setAttribute("role", "alert");
  close.addEventListener("click", () => note.remove());
  const notes = byId("messages");
  notes.append(note);
  while (notes.children.length > 4) notes.firstElementChild.remove();
  if (!isError) setTimeout(() => note.remove(), 8000);
}

const REFUSED = {
  400: "The request was refused",
  401: "The token is wrong: nothing was changed",
  403: "Refused, as if another site had asked: nothing was changed",
  404: "That server is not there any more",
};

/** A field of a request holds bytes. */
const asBytes = (text) => String.fromCharCode(...new TextEncoder().encode(text));

let isChanging = false;

async function change(pool, server, wanted) {
  if (isChanging) return;
  isChanging = true;
  try {
    const token = storedToken() || (await askToken());
    if (token) await send(pool, server, wanted, token);
  } finally {
    isChanging = false;
  }
}

async function send(pool, server, wanted, token) {
  const names = [pool, server].map(encodeURIComponent).join("/");
  let response;
  try {
    response = await fetch(`api/servers/${names}`, {
      method: "POST",
      headers: { Authorization: `Bearer ${asBytes(token)}`, "Content-Type": "application/json" },
      body: JSON.stringify(wanted),
      signal: AbortSignal.timeout(10000),
    });
  } catch {
    return say(`${pool}/${server}: rsp did not answer; whether it was changed shows once it does.`, true);
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) {
    say(`${pool}/${server}: ${answer.state}, weight ${answer.weight}`);
  } else {
    if (response.status === 401) storeToken("");
    const what = REFUSED[response.status] ?? `Status ${response.status}`;
    const why = [401, 403].includes(response.status) ? "" : ` (${answer.error ?? "no reason given"})`;
    say(`${pool}/${server}: ${what}${why}.`, true);
  }
  poll();
}
