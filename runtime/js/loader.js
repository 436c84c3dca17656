// Loader of builtins. Gives every builtin the same `lethe` object:
//   lethe.ops.NAME(...)  natives of ops/table.in, each made when it is first asked for
//   lethe.use("name")    exports of js/name.js, evaluated once per isolate (at build time if something eager uses it)
// While the snapshot is built, `lethe.compiled` holds the compiled builtins; afterwards a native compiles them.
"use strict";

const loaded = { __proto__: null };
const evaluating = { __proto__: null };
const { ops } = lethe;
const { native } = ops;
const { defineProperty, getOwnPropertyDescriptor, ownKeys, setPrototypeOf } = Reflect;
const { hasOwn } = Object;
const tag = Symbol.toStringTag;
let compiled = lethe.compiled;

// Few requests need many natives, and each is four objects that every isolate would begin with.
setPrototypeOf(ops, new Proxy({ __proto__: null }, {
  __proto__: null,
  get(_, name) {
    const value = native(name);
    defineProperty(ops, name, { __proto__: null, value });
    return value;
  },
}));

// For the snapshot. An object that got its properties one by one has as many hidden classes behind its own, a prototype
// has one. So every object of which there is one, and which has many properties, is made somebody's prototype.
function settle(object) {
  setPrototypeOf({}, object);
}

lethe.use = (name) => {
  const exports = loaded[name];
  if (exports !== undefined) return exports;
  if (evaluating[name]) throw new Error(`builtin ${name} needs itself while it is evaluated`);
  const body = compiled ? compiled[name] : ops.builtin(name);
  if (typeof body !== "function") throw new Error(`there is no builtin ${name}`);
  evaluating[name] = true;
  try {
    const made = loaded[name] = body(lethe);
    if (compiled) settle(made);
    markInterfaces(made);
    return made;
  } finally {
    delete evaluating[name];
  }
};

// Prototypes of interfaces whose objects mean nothing outside of their isolate. The serializer refuses such objects;
// without this it would take them for plain objects and write what properties they happen to have.
const unclonables = lethe.unclonables = new Set();
const setAdd = Function.prototype.call.bind(Set.prototype.add);
lethe.unclonable = (interface_) => setAdd(unclonables, interface_.prototype);

// An exported interface is one of them, unless the standards say how its objects are cloned.
const CLONABLE = { __proto__: null, DOMException: true, CryptoKey: true, Blob: true, File: true };

function markInterfaces(exports) {
  const keys = ownKeys(exports);
  for (let i = 0; i < keys.length; i++) {
    const { value } = getOwnPropertyDescriptor(exports, keys[i]);
    if (typeof value !== "function" || CLONABLE[keys[i]] === true) continue;
    const { prototype } = value;
    if (prototype !== undefined && hasOwn(prototype, tag)) setAdd(unclonables, prototype);
  }
}

lethe.names = () => Object.keys(loaded);

// Ends the build: what was not evaluated by now is lazy. Nobody asks for the list of globals again.
lethe.seal = () => {
  compiled = undefined;
  delete loaded.globals;
  settle(ops);
  settle(console);
  delete lethe.compiled;
  delete lethe.names;
  delete lethe.seal;
};
