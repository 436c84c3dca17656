"use strict";
// The language's own functions as they were before any worker ran, as far as the actor builtins need them.

const uncurry = Function.prototype.bind.bind(Function.prototype.call);
const { getPrototypeOf, getOwnPropertyDescriptor } = Object;

return {
  Error,
  Map,
  RangeError,
  TypeError,
  arrayIndexOf: uncurry(Array.prototype.indexOf),
  arrayPush: uncurry(Array.prototype.push),
  arraySplice: uncurry(Array.prototype.splice),
  create: Object.create,
  defineProperty: Reflect.defineProperty,
  freeze: Object.freeze,
  isArray: Array.isArray,
  jsonStringify: JSON.stringify,
  mapSet: uncurry(Map.prototype.set),
  min: Math.min,
  promiseWithResolvers: Promise.withResolvers.bind(Promise),
  setPrototypeOf: Reflect.setPrototypeOf,
  symbolToStringTag: Symbol.toStringTag,
  trunc: Math.trunc,
  typedArrayByteLength: uncurry(
    getOwnPropertyDescriptor(getPrototypeOf(Uint8Array.prototype), "byteLength").get,
  ),
};
