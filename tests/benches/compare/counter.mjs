// The same counter as a Restate virtual object, served to Restate's nodes over HTTP/2. Argument: the port.

import * as restate from "@restatedev/restate-sdk";

// The SDK takes this from Node 22; Debian and many others have an older one.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new Promise((a, b) => ([resolve, reject] = [a, b]));
  return { promise, resolve, reject };
};

const counter = restate.object({
  name: "Counter",
  handlers: {
    add: async (ctx) => {
      const n = ((await ctx.get("n")) ?? 0) + 1;
      ctx.set("n", n);
      return n;
    },
  },
});

restate.serve({ services: [counter], port: Number(process.argv[2]) });
