// Numbers, times and sizes for people.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** How many: exact as long as that is short. */
function count(number) {
  return number < 1e6 ? whole.format(number) : short.format(number);
}

/** How many a second. */
function rate(number) {
  if (number === 0) return "0";
  if (number < 0.1) return "<0.1";
  return number < 10 ? number.toFixed(1) : count(Math.round(number));
}

function bytes(number) {
  let unit = 0;
  while (number >= 1000 && unit + 1 < UNITS.length) {
    number /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || number >= 100 ? 0 : 1;
  return `${number.toFixed(digits)} ${UNITS[unit]}`;
}

/** `null`: there was no request. */
function milliseconds(number) {
  if (number === null || number === undefined) return "–";
  if (number >= 10000) return `${(number / 1000).toFixed(1)} s`;
  if (number >= 1000) return `${(number / 1000).toFixed(2)} s`;
  return `${number.toFixed(number < 1 ? 2 : number < 10 ? 1 : 0)} ms`;
}

function microseconds(number) {
  if (number === null || number === undefined) return "–";
  return number >= 1000 ? milliseconds(number / 1000) : `${number.toFixed(number < 10 ? 1 : 0)} µs`;
}

/** The largest units, two at most. */
function duration(seconds, most = 2) {
  let rest = Math.max(0, Math.floor(seconds));
  const parts = [];
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const number = Math.floor(rest / size);
    rest -= number * size;
    if (number > 0 || (unit === "s" && parts.length === 0)) parts.push(`${number} ${unit}`);
    else if (parts.length > 0) break;
  }
  return parts.slice(0, most).join(" ");
}

const two = (number) => String(number).padStart(2, "0");

/** The reader's own time; the day too, unless it is today. */
function moment(seconds, always = false) {
  const at = new Date(seconds * 1000);
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return !always && at.toDateString() === new Date().toDateString() ? time : `${day} ${time}`;
}

function plural(number, word) {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}
