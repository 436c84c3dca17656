// The language's own functions as they were before any worker ran. Builtins call these instead of methods that a
// worker may have replaced, so that a patched `Array.prototype.push` can neither break them nor watch them.
//
// `uncurry(f)(self, ...args)` is `f.call(self, ...args)` without looking up `call`.
"use strict";

const uncurry = Function.prototype.bind.bind(Function.prototype.call);
const getter = (proto, key) => uncurry(Object.getOwnPropertyDescriptor(proto, key).get);
const TypedArrayPrototype = Object.getPrototypeOf(Uint8Array.prototype);
const IteratorPrototype = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()));
const AsyncIteratorPrototype = Object.getPrototypeOf(Object.getPrototypeOf(async function* () {}.prototype));

const { apply } = Reflect;
const PromiseThen = uncurry(Promise.prototype.then);
const PromiseConstructor = Promise;
const PromiseResolve = Promise.resolve.bind(Promise);
const nothing = () => {};

return {
  uncurry,
  nothing,

  defineProperty: Reflect.defineProperty,
  getOwnPropertyDescriptor: Reflect.getOwnPropertyDescriptor,
  getPrototypeOf: Reflect.getPrototypeOf,
  setPrototypeOf: Reflect.setPrototypeOf,
  ownKeys: Reflect.ownKeys,
  apply: Reflect.apply,
  construct: Reflect.construct,
  freeze: Object.freeze,
  create: Object.create,
  hasOwn: Object.hasOwn,

  Error,
  TypeError,
  RangeError,
  SyntaxError,
  captureStackTrace: Error.captureStackTrace,
  // V8 keeps an error's stack in an accessor of its own; undefined if it is plain data.
  stackGetter: Object.getOwnPropertyDescriptor(new Error(), "stack")?.get,

  Map,
  Set,
  WeakMap,
  WeakRef,
  Symbol,
  Proxy,
  mapGet: uncurry(Map.prototype.get),
  mapSet: uncurry(Map.prototype.set),
  mapDelete: uncurry(Map.prototype.delete),
  mapForEach: uncurry(Map.prototype.forEach),
  setAdd: uncurry(Set.prototype.add),
  setDelete: uncurry(Set.prototype.delete),
  setHas: uncurry(Set.prototype.has),
  setForEach: uncurry(Set.prototype.forEach),
  weakMapGet: uncurry(WeakMap.prototype.get),
  weakMapSet: uncurry(WeakMap.prototype.set),
  deref: uncurry(WeakRef.prototype.deref),

  isArray: Array.isArray,
  arrayPush: uncurry(Array.prototype.push),
  arrayShift: uncurry(Array.prototype.shift),
  arraySplice: uncurry(Array.prototype.splice),
  arraySlice: uncurry(Array.prototype.slice),
  arrayJoin: uncurry(Array.prototype.join),
  arraySort: uncurry(Array.prototype.sort),
  arrayIncludes: uncurry(Array.prototype.includes),
  arrayIndexOf: uncurry(Array.prototype.indexOf),

  String,
  charCodeAt: uncurry(String.prototype.charCodeAt),
  stringIndexOf: uncurry(String.prototype.indexOf),
  stringSlice: uncurry(String.prototype.slice),
  stringStartsWith: uncurry(String.prototype.startsWith),
  stringEndsWith: uncurry(String.prototype.endsWith),
  stringRepeat: uncurry(String.prototype.repeat),
  padEnd: uncurry(String.prototype.padEnd),
  toLowerCase: uncurry(String.prototype.toLowerCase),
  toUpperCase: uncurry(String.prototype.toUpperCase),
  toWellFormed: uncurry(String.prototype.toWellFormed),
  fromCharCode: String.fromCharCode,
  regExpExec: uncurry(RegExp.prototype.exec),
  symbolDescription: getter(Symbol.prototype, "description"),

  Number,
  BigInt,
  isInteger: Number.isInteger,
  isNaN: Number.isNaN,
  parseFloat: Number.parseFloat,
  floor: Math.floor,
  ceil: Math.ceil,
  trunc: Math.trunc,
  min: Math.min,
  max: Math.max,
  dateNow: Date.now,
  dateToISOString: uncurry(Date.prototype.toISOString),
  dateValue: uncurry(Date.prototype.getTime),
  regExpSource: getter(RegExp.prototype, "source"),
  regExpFlags: [
    { flag: "d", is: getter(RegExp.prototype, "hasIndices") },
    { flag: "g", is: getter(RegExp.prototype, "global") },
    { flag: "i", is: getter(RegExp.prototype, "ignoreCase") },
    { flag: "m", is: getter(RegExp.prototype, "multiline") },
    { flag: "s", is: getter(RegExp.prototype, "dotAll") },
    { flag: "u", is: getter(RegExp.prototype, "unicode") },
    { flag: "v", is: getter(RegExp.prototype, "unicodeSets") },
    { flag: "y", is: getter(RegExp.prototype, "sticky") },
  ],
  functionToString: uncurry(Function.prototype.toString),
  numberValue: uncurry(Number.prototype.valueOf),
  stringValue: uncurry(String.prototype.valueOf),
  booleanValue: uncurry(Boolean.prototype.valueOf),
  symbolToString: uncurry(Symbol.prototype.toString),
  objectToString: uncurry(Object.prototype.toString),
  mapSize: getter(Map.prototype, "size"),
  setSize: getter(Set.prototype, "size"),
  jsonParse: JSON.parse,
  jsonStringify: JSON.stringify,

  ArrayBuffer,
  DataView,
  Uint8Array,
  Uint32Array,
  TypedArrayPrototype,
  isView: ArrayBuffer.isView,
  typedArraySet: uncurry(TypedArrayPrototype.set),
  typedArraySlice: uncurry(TypedArrayPrototype.slice),
  typedArrayTag: getter(TypedArrayPrototype, Symbol.toStringTag),
  typedArrayLength: getter(TypedArrayPrototype, "length"),
  typedArrayByteLength: getter(TypedArrayPrototype, "byteLength"),
  typedArrayByteOffset: getter(TypedArrayPrototype, "byteOffset"),
  typedArrayBuffer: getter(TypedArrayPrototype, "buffer"),
  dataViewByteLength: getter(DataView.prototype, "byteLength"),
  dataViewByteOffset: getter(DataView.prototype, "byteOffset"),
  dataViewBuffer: getter(DataView.prototype, "buffer"),
  arrayBufferByteLength: getter(ArrayBuffer.prototype, "byteLength"),
  arrayBufferDetached: getter(ArrayBuffer.prototype, "detached"),
  arrayBufferSlice: uncurry(ArrayBuffer.prototype.slice),
  arrayBufferTransfer: uncurry(ArrayBuffer.prototype.transfer),
  arrayBufferResizable: getter(ArrayBuffer.prototype, "resizable"),

  Promise,
  promiseThen: PromiseThen,
  promiseResolve: PromiseResolve,
  promiseReject: Promise.reject.bind(Promise),
  promiseWithResolvers: Promise.withResolvers.bind(Promise),
  /** A promise for the call's result; a throw becomes a rejection. */
  promiseTry(fn, self, args) {
    return new PromiseConstructor((resolve) => resolve(apply(fn, self, args)));
  },
  /** Keeps a rejection from being reported as unhandled. */
  markHandled(promise) {
    PromiseThen(promise, undefined, nothing);
  },

  symbolIterator: Symbol.iterator,
  symbolAsyncIterator: Symbol.asyncIterator,
  symbolToStringTag: Symbol.toStringTag,
  IteratorPrototype,
  AsyncIteratorPrototype,
};
