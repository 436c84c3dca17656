// Actor namespaces as a worker sees them in `env`: ids, stubs, and calls over them.
//
// A stub has no list of the actor's methods. Every name that neither the stub's class nor Object.prototype knows is a
// method of the actor: the last prototype of a stub is a Proxy that makes it. `then` is not one, or `await stub` would
// be a call.
"use strict";

const p = lethe.use("primordials");
const { encodeArgs, settle } = lethe.use("actor_wire");
const { ops } = lethe;

const ID_OF_NAME = 0;
const ID_UNIQUE = 1;
const ID_OF_HEX = 2;

const { get: reflectGet } = Reflect;
const INTERNAL = p.freeze({ __proto__: null });

const isObject = (value) => value !== null && (typeof value === "object" || typeof value === "function");

let partsOf;
let callActor;

/** An actor's identity: 64 hex digits, and the name they were made from if that is known. */
class DurableObjectId {
  #hex;
  #name;

  static {
    // Undefined for what is not an id.
    partsOf = (id) => (isObject(id) && #hex in id ? { hex: id.#hex, name: id.#name } : undefined);
  }

  constructor(key, hex, name) {
    if (key !== INTERNAL) throw new p.TypeError("Illegal constructor: ids are made by a namespace");
    this.#hex = hex;
    this.#name = name;
    if (name !== undefined) {
      p.defineProperty(this, "name", { __proto__: null, value: name, enumerable: true });
    }
  }

  toString() {
    return this.#hex;
  }

  equals(other) {
    const parts = partsOf(other);
    if (parts === undefined) throw new p.TypeError("equals() needs a DurableObjectId");
    return parts.hex === this.#hex;
  }
}

/** Calls one actor. Calls made on one stub are handed over in the order they were made. */
class DurableObject {
  #binding;
  #id;

  static {
    callActor = async (stub, method, args) => {
      const { hex, name } = partsOf(stub.#id);
      const reply = ops.actorCall(stub.#binding, hex, name, method, encodeArgs(method, args));
      return ops.deserialize(await settle(reply));
    };
  }

  constructor(key, binding, id) {
    if (key !== INTERNAL) throw new p.TypeError("Illegal constructor: stubs are made by a namespace");
    this.#binding = binding;
    this.#id = id;
  }

  get id() {
    return this.#id;
  }

  get name() {
    return partsOf(this.#id).name;
  }

  async fetch(input, init = undefined) {
    const { Request } = lethe.use("request");
    const binding = this.#binding;
    const { hex, name } = partsOf(this.#id);
    const wire = (request) => settle(ops.actorFetch(binding, hex, name, request));
    return lethe.use("fetch_send").send(new Request(input, init), wire);
  }

  /** Ends the actor for good: its data is erased, a tombstone stays, later calls get `ActorDestroyed`. */
  async destroy() {
    const { hex, name } = partsOf(this.#id);
    await settle(ops.actorDestroy(this.#binding, hex, name));
  }
}

p.setPrototypeOf(
  DurableObject.prototype,
  new Proxy(p.create(Object.prototype), {
    __proto__: null,
    get(target, key, stub) {
      if (typeof key === "symbol" || key === "then" || key in target) return reflectGet(target, key, stub);
      return (...args) => callActor(stub, key, args);
    },
  }),
);

/** Binding of a class of actors: makes ids, and stubs of them. */
class DurableObjectNamespace {
  #binding;

  constructor(key, binding) {
    if (key !== INTERNAL) throw new p.TypeError("Illegal constructor: namespaces come from the worker's bindings");
    this.#binding = binding;
  }

  newUniqueId() {
    return new DurableObjectId(INTERNAL, ops.actorId(this.#binding, ID_UNIQUE, ""), undefined);
  }

  idFromName(name) {
    required(arguments, "idFromName", "a name");
    return idOfName(this.#binding, name);
  }

  idFromString(hex) {
    required(arguments, "idFromString", "64 hex digits");
    return new DurableObjectId(INTERNAL, ops.actorId(this.#binding, ID_OF_HEX, `${hex}`), undefined);
  }

  get(id) {
    const parts = partsOf(id);
    if (parts === undefined) throw new p.TypeError("get() needs a DurableObjectId, as idFromName() and idFromString() make");
    ops.actorId(this.#binding, ID_OF_HEX, parts.hex); // Refuses an id of another namespace.
    return new DurableObject(INTERNAL, this.#binding, id);
  }

  getByName(name) {
    required(arguments, "getByName", "a name");
    return new DurableObject(INTERNAL, this.#binding, idOfName(this.#binding, name));
  }
}

function idOfName(binding, name) {
  name = `${name}`;
  return new DurableObjectId(INTERNAL, ops.actorId(binding, ID_OF_NAME, name), name);
}

function required(args, method, what) {
  if (args.length === 0) throw new p.TypeError(`${method}() needs ${what}`);
}

for (const interface_ of [DurableObjectId, DurableObject, DurableObjectNamespace]) {
  lethe.unclonable(interface_);
  p.defineProperty(interface_.prototype, p.symbolToStringTag, {
    __proto__: null,
    value: interface_.name,
    configurable: true,
  });
}

return {
  newNamespace: (binding) => new DurableObjectNamespace(INTERNAL, binding),
  newId: (hex, name) => new DurableObjectId(INTERNAL, hex, name),
};
