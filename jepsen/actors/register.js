// The test actor of the register workload, and a Worker that passes HTTP requests on to it.
//
//   POST /NAME/METHOD with a JSON array of arguments -> 200 {"value": result} | 410 when destroyed | 500 otherwise

import { DurableObject } from "cloudflare:workers";

/**
 * One register. Nothing here locks: that a compare-and-set is atomic although it waits for storage in the middle is
 * what the runtime promises, and what the harness checks.
 */
export class Register extends DurableObject {
  /** What this instance last wrote or read; an instance that others overtook would find something else in storage. */
  #memory;

  /** The value, or null before the first write. */
  async read() {
    const stored = (await this.ctx.storage.get("value")) ?? null;
    if (this.#memory !== undefined && this.#memory !== stored) {
      throw new Error(`this instance remembers ${this.#memory}, its storage holds ${stored}`);
    }
    this.#memory = stored;
    return stored;
  }

  /** Sets the value and returns it. */
  write(value) {
    this.#memory = value;
    this.ctx.storage.put("value", value);
    return value;
  }

  /** Sets the value if it is `expected`; says what it found. */
  async cas(expected, value) {
    const seen = await this.read();
    if (seen !== expected) {
      return { swapped: false, seen };
    }
    this.write(value);
    return { swapped: true, seen };
  }
}

export default {
  async fetch(request, env) {
    const [, name, method] = new URL(request.url).pathname.split("/");
    const stub = env.REGISTER.getByName(name);
    const args = await request.json();
    try {
      switch (method) {
        case "read":
          return Response.json({ value: await stub.read() });
        case "write":
          return Response.json({ value: await stub.write(...args) });
        case "cas":
          return Response.json({ value: await stub.cas(...args) });
        case "destroy":
          await stub.destroy();
          return Response.json({ value: null });
        default:
          return new Response("no such method", { status: 404 });
      }
    } catch (error) {
      const status = error.name === "ActorDestroyed" ? 410 : 500;
      return Response.json({ name: error.name, message: error.message }, { status });
    }
  },
};
