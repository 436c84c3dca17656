// setTimeout, setInterval and their clears, by the HTML standard's timer steps without string handlers.
"use strict";

const { ops } = lethe;
const { apply } = Reflect;
const { isFinite, Number } = globalThis;

const DELAY_MAX_MS = 2147483647;

function start(handler, delay, repeat, args) {
  if (typeof handler !== "function") {
    throw new TypeError("a timer's handler must be a function; code in strings is not run");
  }
  let ms = Number(delay);
  if (!isFinite(ms) || ms < 0 || ms > DELAY_MAX_MS) ms = 0;
  const receiver = globalThis;
  return ops.timerStart(ms, repeat, args.length === 0 ? handler : () => apply(handler, receiver, args));
}

function clear(id) {
  id = Number(id);
  if (id > 0 && isFinite(id)) ops.timerClear(id);
}

return {
  setTimeout(handler, delay = 0, ...args) {
    return start(handler, delay, false, args);
  },
  setInterval(handler, delay = 0, ...args) {
    return start(handler, delay, true, args);
  },
  clearTimeout(id = 0) {
    clear(id);
  },
  clearInterval(id = 0) {
    clear(id);
  },
};
