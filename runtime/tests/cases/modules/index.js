// Every kind of module, static and dynamic imports, and a module that is not there.
import { env, waitUntil, WorkerEntrypoint, DurableObject } from "cloudflare:workers";
import name, { count, bump } from "./lib.js";
import config from "./config.json";
import text from "./note.txt";
import data from "./data.bin";
import wasm from "./add.wasm";

export default {
  async fetch() {
    bump();
    const late = await import("./late.js");
    const { exports } = await WebAssembly.instantiate(wasm, {});
    const out = [name, count, config.answer, text.trim(), data instanceof ArrayBuffer, data.byteLength, late.default, exports.add(2, 3)];
    out.push(typeof env, typeof waitUntil, WorkerEntrypoint.name, DurableObject.name);
    try {
      await import("./missing.js");
    } catch (error) {
      out.push(error.message);
    }
    return new Response(out.join("\n"));
  },
};
