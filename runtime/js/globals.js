// Which global comes from which builtin. Eager builtins are evaluated into the startup snapshot and cost every
// isolate; lazy globals evaluate their builtin (from a code cache) when they are first read.
// Names with a capital first letter are not enumerable, the others are.
"use strict";
return {
  eager: {
    standin: ["Headers", "Request", "Response"],
  },
  lazy: {
    timers: ["setTimeout", "clearTimeout", "setInterval", "clearInterval"],
    standin_console: ["console"],
    clone: ["structuredClone"],
  },
};
