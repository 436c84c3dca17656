// The test actor of the counter workload.

import { DurableObject } from "cloudflare:workers";

export class Counter extends DurableObject {
  /** The total. */
  async read() {
    return (await this.ctx.storage.get("total")) ?? 0;
  }

  /** Adds to the total and returns it. */
  async add(by) {
    const total = (await this.read()) + by;
    this.ctx.storage.put("total", total);
    return total;
  }
}
