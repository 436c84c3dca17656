// Exports of the module `cloudflare:workers`.
"use strict";

const { defineProperty } = Object;

function fields(object, ctx, env) {
  defineProperty(object, "ctx", { value: ctx, writable: true, configurable: true });
  defineProperty(object, "env", { value: env, writable: true, configurable: true });
}

class WorkerEntrypoint {
  constructor(ctx, env) {
    fields(this, ctx, env);
  }
}

class DurableObject {
  constructor(ctx, env) {
    fields(this, ctx, env);
  }
}

// What extends it is meant to be passed by reference, which does not exist yet: the serializer refuses it.
class RpcTarget {}
lethe.unclonable(RpcTarget);
lethe.unclonable(DurableObject);
lethe.unclonable(WorkerEntrypoint);

return {
  WorkerEntrypoint,
  DurableObject,
  RpcTarget,
  get env() {
    return lethe.env;
  },
  waitUntil(promise) {
    lethe.use("entry").waitUntil(promise);
  },
};
