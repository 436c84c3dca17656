// CountQueuingStrategy and ByteLengthQueuingStrategy.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");

const count = () => 1;
const byteLength = (chunk) => chunk.byteLength;
p.defineProperty(count, "name", { __proto__: null, value: "size" });
p.defineProperty(byteLength, "name", { __proto__: null, value: "size" });

function readMark(args, name) {
  const where = `Failed to construct '${name}'`;
  idl.required(args, 1, where);
  const { highWaterMark } = idl.dictionary(args[0], where);
  if (highWaterMark === undefined) throw new p.TypeError(`${where}: highWaterMark is missing`);
  return +highWaterMark;
}

class CountQueuingStrategy {
  #highWaterMark;
  constructor(init) {
    this.#highWaterMark = readMark(arguments, "CountQueuingStrategy");
  }
  get highWaterMark() {
    return this.#highWaterMark;
  }
  get size() {
    this.#highWaterMark;
    return count;
  }
}
idl.iface(CountQueuingStrategy, "CountQueuingStrategy");

class ByteLengthQueuingStrategy {
  #highWaterMark;
  constructor(init) {
    this.#highWaterMark = readMark(arguments, "ByteLengthQueuingStrategy");
  }
  get highWaterMark() {
    return this.#highWaterMark;
  }
  get size() {
    this.#highWaterMark;
    return byteLength;
  }
}
idl.iface(ByteLengthQueuingStrategy, "ByteLengthQueuingStrategy");

return { CountQueuingStrategy, ByteLengthQueuingStrategy };
