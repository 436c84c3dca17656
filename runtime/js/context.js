// `env` and the `ctx` objects that handlers get.
"use strict";

const { ops } = lethe;
const { defineProperty } = Object;
const { parse } = JSON;
const { Promise } = globalThis;
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

return {
  waitUntil,
  workerContext: () => new ExecutionContext(),
  // `vars` is JSON text or undefined, `namespaces` a list of [binding, class name].
  makeEnv(vars, namespaces) {
    const env = vars === undefined ? {} : parse(vars);
    for (const [binding] of namespaces) {
      defineProperty(env, binding, {
        get() {
          const value = lethe.use("actors").newNamespace(binding);
          defineProperty(env, binding, { value, writable: true, enumerable: true, configurable: true });
          return value;
        },
        enumerable: true,
        configurable: true,
      });
    }
    return env;
  },
};
