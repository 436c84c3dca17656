// console. Printing plain strings needs nothing else; anything that has to be formatted goes through `inspect`, the rarer
// methods through `console_more`.
"use strict";

const p = lethe.use("primordials");
const { ops } = lethe;

// Longest text of one call.
const TEXT_CHARS_MAX = 64 * 1024;

let indentation = "";

function print(level, args) {
  let text = "";
  for (let i = 0; i < args.length; i++) {
    if (typeof args[i] !== "string" || (i === 0 && args.length > 1 && p.stringIndexOf(args[0], "%") !== -1)) {
      text = lethe.use("inspect").formatAll(args);
      break;
    }
    text = i === 0 ? args[0] : `${text} ${args[i]}`;
  }
  emit(level, text);
}

function emit(level, text) {
  const whole = indentation === "" ? text : lethe.use("console_more").indent(text, indentation);
  if (whole.length <= TEXT_CHARS_MAX) {
    ops.log(level, whole);
  } else {
    const cut = whole.length - TEXT_CHARS_MAX;
    ops.log(level, `${p.stringSlice(whole, 0, TEXT_CHARS_MAX)}... ${cut} more characters`);
  }
}

const more = () => lethe.use("console_more");

const console = p.create({}, {});
const methods = {
  debug(...data) {
    print("debug", data);
  },
  log(...data) {
    print("log", data);
  },
  info(...data) {
    print("info", data);
  },
  warn(...data) {
    print("warn", data);
  },
  error(...data) {
    print("error", data);
  },
  assert(condition = false, ...data) {
    if (!condition) more().failedAssertion(data, print);
  },
  clear() {},
  count(label = "default") {
    more().count(label, emit);
  },
  countReset(label = "default") {
    more().countReset(label, emit);
  },
  dir(item = undefined, options = undefined) {
    emit("log", more().dir(item, options));
  },
  dirxml(...data) {
    print("log", data);
  },
  group(...data) {
    if (data.length > 0) print("log", data);
    if (indentation.length < 64) indentation += "  ";
  },
  groupCollapsed(...data) {
    if (data.length > 0) print("log", data);
    if (indentation.length < 64) indentation += "  ";
  },
  groupEnd() {
    indentation = p.stringSlice(indentation, 2);
  },
  table(tabularData = undefined, properties = undefined) {
    emit("log", more().table(tabularData, properties));
  },
  time(label = "default") {
    more().time(label, emit);
  },
  timeLog(label = "default", ...data) {
    more().timeLog(label, data, emit);
  },
  timeEnd(label = "default") {
    more().timeEnd(label, emit);
  },
  trace(...data) {
    print("log", more().trace(data, console.trace));
  },
};
const names = p.ownKeys(methods);
for (let i = 0; i < names.length; i++) {
  p.defineProperty(console, names[i], {
    __proto__: null,
    value: methods[names[i]],
    writable: true,
    enumerable: true,
    configurable: true,
  });
}
p.defineProperty(console, p.symbolToStringTag, { __proto__: null, value: "console", configurable: true });

return { console };
