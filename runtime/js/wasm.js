// The `WebAssembly` global with its memories counted: V8 does not count them as memory of the isolate.
// `lethe.WebAssembly` is V8's own; it is replaced by a lazy global when the isolate is made.
//
// Every memory that JavaScript can see is registered; making or growing one asks whether all of them still fit. A
// memory that only its module sees, and growth by the module itself, are caught by the watchdog.
"use strict";

const { ops } = lethe;
const { WebAssembly } = lethe;
const { Memory, Instance, instantiate } = WebAssembly;
const { Map, Number, RangeError, TypeError, WeakRef } = globalThis;
const { apply, construct } = Reflect;
const { defineProperty, getOwnPropertyDescriptor, values } = Object;
const { grow } = Memory.prototype;
const { deref } = WeakRef.prototype;
const { get: buffer } = getOwnPropertyDescriptor(Memory.prototype, "buffer");

const PAGE_BYTES = 65536;
const MEMORIES_MAX = 256;
const live = new Map();
let lastId = 0;

// Bytes of all registered memories; forgets those that were collected.
function sum() {
  let bytes = 0;
  for (const { 0: id, 1: reference } of live) {
    const memory = apply(deref, reference, []);
    if (memory === undefined) live.delete(id);
    else bytes += apply(buffer, memory, []).byteLength;
  }
  return bytes;
}

function claim(bytes) {
  if (!ops.wasmClaim(sum() + bytes) || live.size >= MEMORIES_MAX) {
    throw new RangeError("WebAssembly memory exceeds the worker's memory limit");
  }
}

function register(memory) {
  live.set(++lastId, new WeakRef(memory));
}

function registerExports(instance) {
  for (const value of values(instance.exports)) {
    if (value instanceof Memory) register(value);
  }
  claim(0);
  return instance;
}

function CountedMemory(descriptor) {
  if (new.target === undefined) return Memory(descriptor);
  if (descriptor?.shared) throw new TypeError("workers have no shared memory");
  claim(Number(descriptor?.initial ?? 0) * PAGE_BYTES);
  const memory = construct(Memory, [descriptor], new.target);
  register(memory);
  return memory;
}

function CountedInstance(module, imports) {
  if (new.target === undefined) return Instance(module, imports);
  claim(0);
  return registerExports(construct(Instance, [module, imports], new.target));
}

function replace(name, counted, original) {
  defineProperty(counted, "name", { value: name, configurable: true });
  defineProperty(counted, "length", { value: 1, configurable: true });
  if (original.prototype !== undefined) {
    defineProperty(counted, "prototype", { value: original.prototype, writable: false });
    defineProperty(original.prototype, "constructor", { value: counted, writable: true, configurable: true });
  }
  defineProperty(WebAssembly, name, { value: counted, writable: true, configurable: true });
}

replace("Memory", CountedMemory, Memory);
replace("Instance", CountedInstance, Instance);
replace("instantiate", {
  async instantiate(source, imports) {
    claim(0);
    const made = await apply(instantiate, WebAssembly, [source, imports]);
    registerExports(made instanceof Instance ? made : made.instance);
    return made;
  },
}.instantiate, instantiate);
defineProperty(Memory.prototype, "grow", {
  value: {
    grow(pages) {
      claim(Number(pages) * PAGE_BYTES);
      return apply(grow, this, [pages]);
    },
  }.grow,
  writable: true,
  enumerable: true,
  configurable: true,
});

return { WebAssembly };
