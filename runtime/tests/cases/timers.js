// Order of timers, microtasks and clears. Nothing here depends on how busy the machine is.
export default {
  async fetch() {
    const order = [];
    const wait = (ms) => new Promise((done) => setTimeout(done, ms));
    const cleared = setTimeout(() => order.push("cleared"), 10);
    clearTimeout(cleared);
    setTimeout(() => {
      order.push("zero");
      Promise.resolve().then(() => order.push("microtask of zero"));
    }, 0);
    setTimeout(() => order.push("second zero"), 0);
    Promise.resolve().then(() => order.push("microtask"));
    order.push("sync");
    await wait(5);
    let ticks = 0;
    await new Promise((done) => {
      const interval = setInterval((a, b) => {
        order.push(`tick ${a + b}`);
        if (++ticks === 3) {
          clearInterval(interval);
          done();
        }
      }, 1, "x", "y");
    });
    await wait(5);
    return new Response(order.join("\n"));
  },
};
