// The least console there can be, until the `web` room's console replaces it.
"use strict";

const { ops } = lethe;
const { String } = globalThis;

const print = (level) => (...args) => ops.log(level, args.map(String).join(" "));

return {
  console: {
    debug: print("debug"),
    log: print("log"),
    info: print("info"),
    warn: print("warn"),
    error: print("error"),
  },
};
