// The test actor of the register workload.

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
