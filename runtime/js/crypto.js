// crypto: random values. `subtle` is in `crypto_subtle.js`, evaluated when it is first asked for.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const { ops } = lethe;

const INTERNAL = p.freeze({ __proto__: null });
const RANDOM_BYTES_MAX = 65536;
const INTEGERS = [
  "Int8Array",
  "Uint8Array",
  "Uint8ClampedArray",
  "Int16Array",
  "Uint16Array",
  "Int32Array",
  "Uint32Array",
  "BigInt64Array",
  "BigUint64Array",
];

class Crypto {
  #subtle = null;
  constructor(token = undefined) {
    if (token !== INTERNAL) throw idl.illegal();
  }
  get subtle() {
    return (this.#subtle ??= lethe.use("crypto_subtle").subtle);
  }
  getRandomValues(array) {
    this.#subtle;
    const where = "Failed to execute 'getRandomValues' on 'Crypto'";
    idl.required(arguments, 1, where);
    if (!p.isView(array)) throw new p.TypeError(`${where}: the argument is not a view of an ArrayBuffer`);
    const { DOMException } = lethe.use("dom_exception");
    if (!p.arrayIncludes(INTEGERS, p.typedArrayTag(array))) {
      throw new DOMException(`${where}: the view is not of integers`, "TypeMismatchError");
    }
    const bytes = idl.bytesOf(array);
    if (p.typedArrayByteLength(bytes) > RANDOM_BYTES_MAX) {
      throw new DOMException(`${where}: more than ${RANDOM_BYTES_MAX} bytes asked for at once`, "QuotaExceededError");
    }
    ops.randomFill(bytes);
    return array;
  }
  randomUUID() {
    this.#subtle;
    return ops.randomUuid();
  }
}
idl.iface(Crypto, "Crypto");

return {
  Crypto,
  crypto: new Crypto(INTERNAL),
};
