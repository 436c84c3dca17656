// `env` and the `ctx` objects that handlers get.
"use strict";

const { ops } = lethe;
const { defineProperty } = Object;
const { parse } = JSON;
const { Promise, String, TypeError } = globalThis;
const { then } = Promise.prototype;
const { apply } = Reflect;
const resolve = Promise.resolve.bind(Promise);

const HOLD_WAIT_UNTIL = 0;

// Keeps the isolate alive until `promise` settles. A rejection is logged, nothing else.
function waitUntil(promise) {
  ops.hold(HOLD_WAIT_UNTIL, 1);
  apply(then, resolve(promise), [
    () => ops.hold(HOLD_WAIT_UNTIL, -1),
    (error) => {
      ops.logException(error);
      ops.hold(HOLD_WAIT_UNTIL, -1);
    },
  ]);
}

class ExecutionContext {
  props = {};
  waitUntil(promise) {
    waitUntil(promise);
  }
  passThroughOnException() {}
}

class ActorContext {
  #id;
  props = {};
  constructor(id) {
    this.#id = id;
  }
  get id() {
    return this.#id;
  }
  waitUntil(promise) {
    waitUntil(promise);
  }
  abort(reason = "ctx.abort() was called") {
    ops.actorAbort(String(reason));
  }
}

class ActorId {
  #hex;
  constructor(hex, name) {
    this.#hex = hex;
    if (name !== undefined) defineProperty(this, "name", { value: name, enumerable: true });
  }
  toString() {
    return this.#hex;
  }
  equals(other) {
    return other !== null && typeof other === "object" && #hex in other && other.#hex === this.#hex;
  }
}

return {
  waitUntil,
  workerContext: () => new ExecutionContext(),
  actorContext: (hex, name) => new ActorContext(new ActorId(hex, name)),
  // `vars` is JSON text or undefined, `namespaces` a list of [binding, class name].
  makeEnv(vars, namespaces) {
    const env = vars === undefined ? {} : parse(vars);
    for (const [binding] of namespaces) {
      defineProperty(env, binding, {
        get() {
          throw new TypeError(`the binding ${binding} has no implementation in this runtime`);
        },
        enumerable: true,
        configurable: true,
      });
    }
    return env;
  },
};
