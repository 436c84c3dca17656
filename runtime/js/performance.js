// performance.now and performance.timeOrigin. Time is in whole milliseconds, as coarse as Workers' clock; it does
// advance while code runs.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const { EventTarget } = lethe.use("events");

const INTERNAL = p.freeze({ __proto__: null });
let origin;

function timeOrigin() {
  return (origin ??= p.floor(lethe.ops.now()));
}

class Performance extends EventTarget {
  #brand = true;
  constructor(token = undefined) {
    if (token !== INTERNAL) throw idl.illegal();
    super();
  }
  now() {
    this.#brand;
    return p.floor(lethe.ops.now() - timeOrigin());
  }
  get timeOrigin() {
    this.#brand;
    return timeOrigin();
  }
  toJSON() {
    this.#brand;
    return { timeOrigin: timeOrigin() };
  }
}
idl.iface(Performance, "Performance");

return { Performance, performance: new Performance(INTERNAL) };
