// WebIDL in JavaScript: conversions of arguments, and the shape that interfaces have (enumerable members, class names,
// pair iterators). Error texts name the place they come from: `Failed to construct 'Headers': ...`.
"use strict";

const p = lethe.use("primordials");

function domString(value) {
  return typeof value === "string" ? value : `${value}`;
}

function usvString(value) {
  return p.toWellFormed(typeof value === "string" ? value : `${value}`);
}

// Compiling a regular expression costs more than a walk over a short text, and an isolate is too young to have any.
const SHORT = 64;

/** Whether every character code of `text` passes `test`, or, what must be the same, a long `text` matches `pattern`. */
function every(text, test, pattern) {
  const { length } = text;
  if (length > SHORT) return p.regExpExec(pattern, text) !== null;
  for (let i = 0; i < length; i++) {
    if (!test(p.charCodeAt(text, i))) return false;
  }
  return true;
}

const BYTES = /^[\x00-\xff]*$/;
const isByte = (code) => code < 256;

function byteString(value, where) {
  const string = domString(value);
  if (!every(string, isByte, BYTES)) {
    throw new p.TypeError(`${where}: the string has a character above U+00FF`);
  }
  return string;
}

function isObject(value) {
  return value !== null && (typeof value === "object" || typeof value === "function");
}

/** A dictionary argument: `undefined` and `null` are the empty one. */
function dictionary(value, where) {
  if (value === undefined || value === null) return EMPTY;
  if (!isObject(value)) throw new p.TypeError(`${where}: the options are not an object`);
  return value;
}
const EMPTY = p.freeze(p.create(null));

/** `[EnforceRange]` for integers from 0 to `max`. */
function enforceRange(value, max, where) {
  const number = +value;
  const integer = p.trunc(number);
  if (!(integer >= 0 && integer <= max)) throw new p.TypeError(`${where}: not a number from 0 to ${max}`);
  return integer + 0;
}

/** `unsigned long` and narrower, with wrap-around. */
function unsigned(value, bits) {
  const number = +value;
  if (!(number - number === 0)) return 0;
  const modulus = 2 ** bits;
  const rest = p.trunc(number) % modulus;
  return rest < 0 ? rest + modulus : rest + 0;
}

/** A value of an enumeration, or a TypeError. */
function enumeration(value, allowed, where) {
  const string = domString(value);
  if (!p.arrayIncludes(allowed, string)) {
    throw new p.TypeError(`${where}: '${string}' is not one of ${p.arrayJoin(allowed, ", ")}`);
  }
  return string;
}

function callback(value, where) {
  if (typeof value !== "function") throw new p.TypeError(`${where} is not a function`);
  return value;
}

function required(args, count, where) {
  if (args.length < count) {
    throw new p.TypeError(
      `${where}: ${count} argument${count === 1 ? "" : "s"} required, but only ${args.length} present`,
    );
  }
}

/** `sequence<T>` of an iterable whose iterator method was already read. */
function sequence(iterable, method, convert) {
  const iterator = p.apply(method, iterable, []);
  if (!isObject(iterator)) throw new p.TypeError("The iterator is not an object");
  const { next } = iterator;
  const list = [];
  for (;;) {
    const step = p.apply(next, iterator, []);
    if (!isObject(step)) throw new p.TypeError("The iterator's result is not an object");
    if (step.done) return list;
    list[list.length] = convert(step.value);
  }
}

/** The sequence of an object that has to be iterable. */
function sequenceOf(value, convert, where) {
  const method = isObject(value) ? value[p.symbolIterator] : undefined;
  if (typeof method !== "function") throw new p.TypeError(`${where}: the value is not iterable`);
  return sequence(value, method, convert);
}

/**
 * The pairs of `(sequence<sequence<T>> or record<T, T>)`: what Headers and URLSearchParams are made from.
 * `key` and `value` convert.
 */
function pairs(init, key, value, where) {
  const method = init[p.symbolIterator];
  if (method !== undefined && method !== null) {
    callback(method, `${where}: the iterator method`);
    return sequence(init, method, (item) => {
      const pair = sequenceOf(item, (part) => part, where);
      if (pair.length !== 2) throw new p.TypeError(`${where}: each pair must have a name and a value`);
      return [key(pair[0]), value(pair[1])];
    });
  }
  const list = [];
  const keys = p.ownKeys(init);
  for (let i = 0; i < keys.length; i++) {
    const descriptor = p.getOwnPropertyDescriptor(init, keys[i]);
    if (descriptor === undefined || !descriptor.enumerable) continue;
    list[list.length] = [key(keys[i]), value(init[keys[i]])];
  }
  return list;
}

/** Bytes of a BufferSource as a Uint8Array over the same memory; `undefined` for anything else. */
function bytesOf(value) {
  if (p.isView(value)) {
    return p.typedArrayTag(value) === undefined
      ? new p.Uint8Array(p.dataViewBuffer(value), p.dataViewByteOffset(value), p.dataViewByteLength(value))
      : new p.Uint8Array(p.typedArrayBuffer(value), p.typedArrayByteOffset(value), p.typedArrayByteLength(value));
  }
  return isAnyBuffer(value) ? new p.Uint8Array(value) : undefined;
}

function isArrayBuffer(value) {
  if (!isObject(value)) return false;
  try {
    p.arrayBufferByteLength(value);
    return true;
  } catch {
    return false;
  }
}

/** An ArrayBuffer or SharedArrayBuffer; the startup snapshot has no SharedArrayBuffer to take a brand check from. */
function isAnyBuffer(value) {
  if (isArrayBuffer(value)) return true;
  if (!isObject(value)) return false;
  try {
    new p.DataView(value);
    return true;
  } catch {
    return false;
  }
}

/** Like `bytesOf`, but a TypeError for memory that is shared or can change its size. */
function fixedBytesOf(value, where) {
  const bytes = bytesOf(value);
  if (bytes === undefined) return undefined;
  const buffer = p.typedArrayBuffer(bytes);
  if (!isArrayBuffer(buffer) || p.arrayBufferResizable(buffer)) {
    throw new p.TypeError(`${where}: the memory is shared or resizable`);
  }
  return bytes;
}

/** Like `bytesOf`, but a TypeError for anything else. */
function bufferSource(value, where) {
  const bytes = bytesOf(value);
  if (bytes === undefined) throw new p.TypeError(`${where}: not an ArrayBuffer or a view of one`);
  return bytes;
}

// Prototypes of our own interfaces: what `inspect` may read accessors of.
const interfaces = new p.Set();

/** Gives a class the shape of a WebIDL interface. `constants` go on the class and on its prototype. */
function iface(Class, name, constants) {
  const proto = Class.prototype;
  p.setAdd(interfaces, proto);
  const keys = p.ownKeys(proto);
  for (let i = 0; i < keys.length; i++) {
    if (typeof keys[i] === "string" && keys[i] !== "constructor") p.defineProperty(proto, keys[i], ENUMERABLE);
  }
  const statics = p.ownKeys(Class);
  for (let i = 0; i < statics.length; i++) {
    const key = statics[i];
    if (typeof key === "string" && key !== "prototype" && key !== "length" && key !== "name") {
      p.defineProperty(Class, key, ENUMERABLE);
    }
  }
  p.defineProperty(proto, p.symbolToStringTag, { __proto__: null, value: name, configurable: true });
  const names = constants === undefined ? [] : p.ownKeys(constants);
  for (let i = 0; i < names.length; i++) {
    const constant = { __proto__: null, value: constants[names[i]], enumerable: true };
    p.defineProperty(Class, names[i], constant);
    p.defineProperty(proto, names[i], constant);
  }
  return Class;
}
const ENUMERABLE = p.freeze({ __proto__: null, enumerable: true });

/** Puts methods and accessors of a plain object on a prototype, enumerable. */
function mixin(Class, members) {
  const keys = p.ownKeys(members);
  for (let i = 0; i < keys.length; i++) {
    const descriptor = p.getOwnPropertyDescriptor(members, keys[i]);
    p.setPrototypeOf(descriptor, null);
    descriptor.enumerable = typeof keys[i] === "string";
    p.defineProperty(Class.prototype, keys[i], descriptor);
  }
}

/**
 * `iterable<K, V>`: entries, keys, values, forEach and the iterator class. `pairAt(self, i)` is the i-th `[key, value]`
 * of the live list or `undefined`; it throws a TypeError for a foreign `self`.
 */
function pairIterable(Class, name, pairAt) {
  const make = iteratorClass(name, pairAt);
  const members = {
    entries() {
      return make(this, 2);
    },
    keys() {
      return make(this, 0);
    },
    values() {
      return make(this, 1);
    },
    forEach(fn) {
      pairAt(this, 0);
      required(arguments, 1, `Failed to execute 'forEach' on '${name}'`);
      callback(fn, `Failed to execute 'forEach' on '${name}': the argument`);
      const self = arguments.length > 1 ? arguments[1] : undefined;
      for (let i = 0, pair; (pair = pairAt(this, i)) !== undefined; i++) p.apply(fn, self, [pair[1], pair[0], this]);
    },
  };
  mixin(Class, members);
  p.defineProperty(Class.prototype, p.symbolIterator, {
    __proto__: null,
    value: members.entries,
    writable: true,
    configurable: true,
  });
}

function iteratorClass(name, pairAt) {
  class PairIterator {
    #target;
    #kind;
    #index = 0;
    static make(target, kind) {
      pairAt(target, 0);
      const iterator = new PairIterator();
      iterator.#target = target;
      iterator.#kind = kind;
      return iterator;
    }
    next() {
      if (!isObject(this) || !(#target in this)) throw new p.TypeError(`The receiver is not a ${name} Iterator`);
      const pair = pairAt(this.#target, this.#index);
      if (pair === undefined) return { value: undefined, done: true };
      this.#index++;
      return { value: this.#kind === 2 ? [pair[0], pair[1]] : pair[this.#kind], done: false };
    }
  }
  const { make } = PairIterator;
  p.setPrototypeOf(PairIterator.prototype, p.IteratorPrototype);
  delete PairIterator.prototype.constructor;
  iface(PairIterator, `${name} Iterator`);
  return make;
}

function illegal() {
  return new p.TypeError("Illegal constructor");
}

return {
  domString,
  usvString,
  byteString,
  every,
  isObject,
  dictionary,
  enforceRange,
  unsigned,
  enumeration,
  callback,
  required,
  sequenceOf,
  pairs,
  bytesOf,
  fixedBytesOf,
  bufferSource,
  isArrayBuffer,
  iface,
  interfaces,
  mixin,
  pairIterable,
  illegal,
};
