// The Worker of the harness: passes HTTP requests on to the test actors.
//
//   POST /CLASS/NAME/METHOD with a JSON array of arguments -> 200 {"value": result} | 410 when destroyed | 500 otherwise,
//   both with {"name", "message", "outcome"}: whether the call took effect, as the runtime told this Worker

export { Bank } from "./bank.js";
export { Counter } from "./counter.js";
export { List } from "./list.js";
export { Register } from "./register.js";
export { Set } from "./set.js";

export default {
  async fetch(request, env) {
    const [, className, name, method] = new URL(request.url).pathname.split("/");
    const stub = env[className].getByName(name);
    const args = await request.json();
    try {
      if (method === "destroy") {
        await stub.destroy();
        return Response.json({ value: null });
      }
      return Response.json({ value: await stub[method](...args) });
    } catch (error) {
      const status = error.name === "ActorDestroyed" ? 410 : 500;
      return Response.json({ name: error.name, message: error.message, outcome: error.outcome }, { status });
    }
  },
};
