// Order of timers, microtasks and clears.
export default {
  async fetch() {
    const order = [];
    const wait = (ms) => new Promise((done) => setTimeout(done, ms));
    setTimeout((a, b) => order.push(a + b), 20, "x", "y");
    const cleared = setTimeout(() => order.push("cleared"), 10);
    clearTimeout(cleared);
    let ticks = 0;
    const interval = setInterval(() => {
      order.push("tick");
      if (++ticks === 2) clearInterval(interval);
    }, 2);
    setTimeout(() => order.push("zero"), 0);
    Promise.resolve().then(() => order.push("microtask"));
    order.push("sync");
    await wait(40);
    return new Response(order.join(" "));
  },
};
