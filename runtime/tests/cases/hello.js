// The least worker.
export default {
  async fetch(request, env, ctx) {
    console.log(request.method, request.url, Object.keys(env).length);
    return new Response("hello");
  },
};
