// crypto: random values, digests, HMAC, AES-GCM, keys in and out.
const failure = (promise) =>
  promise.then(
    (value) => `fulfilled: ${value}`,
    (reason) => reason.name,
  );
const thrown = (f) => {
  try {
    return f();
  } catch (error) {
    return error.name;
  }
};
const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
const text = (string) => new TextEncoder().encode(string);
const { subtle } = crypto;

export default {
  async fetch() {
    for (const name of ["SHA-1", "sha-256", { name: "SHA-384" }, "SHA-512"])
      console.log(JSON.stringify(name), hex(await subtle.digest(name, text("abc"))));
    console.log(
      hex(await subtle.digest("SHA-256", new Uint8Array(0))),
      hex(await subtle.digest("SHA-256", new DataView(text("xabc").buffer, 1))),
    );
    console.log(
      await failure(subtle.digest("MD4", text(""))),
      await failure(subtle.digest("SHA-256", "text")),
      await failure(subtle.digest({}, text(""))),
    );

    const random = crypto.getRandomValues(new Uint32Array(8));
    console.log(
      random.length,
      new Set(random).size > 4,
      thrown(() => crypto.getRandomValues(new Float32Array(1))),
      thrown(() => crypto.getRandomValues(new Uint8Array(65537))),
      thrown(() => crypto.getRandomValues([])),
      crypto.getRandomValues(new Uint8Array(65536)).length,
    );
    const uuid = crypto.randomUUID();
    console.log(
      /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(uuid),
      uuid === crypto.randomUUID(),
    );

    for (const hash of ["SHA-1", "SHA-256", "SHA-384", "SHA-512"]) {
      const key = await subtle.importKey("raw", text("secret"), { name: "HMAC", hash }, false, ["sign", "verify"]);
      const signature = await subtle.sign("HMAC", key, text("message"));
      const wrong = new Uint8Array(signature.slice(0));
      wrong[0] ^= 1;
      console.log(
        hash,
        hex(signature),
        await subtle.verify("HMAC", key, signature, text("message")),
        await subtle.verify("HMAC", key, wrong, text("message")),
        await subtle.verify("HMAC", key, signature.slice(1), text("message")),
      );
    }
    const hmac = await subtle.importKey(
      "jwk",
      { kty: "oct", k: "c2VjcmV0", alg: "HS256", key_ops: ["verify", "sign"], ext: true },
      { name: "hmac", hash: { name: "sha-256" } },
      true,
      ["verify", "sign", "sign"],
    );
    console.log(
      hmac.type,
      hmac.extractable,
      JSON.stringify(hmac.algorithm),
      hmac.usages.join(),
      JSON.stringify(await subtle.exportKey("jwk", hmac)),
      hex(await subtle.exportKey("raw", hmac)),
    );
    const generated = await subtle.generateKey({ name: "HMAC", hash: "SHA-512" }, true, ["sign"]);
    console.log(
      JSON.stringify(generated.algorithm),
      (await subtle.exportKey("raw", generated)).byteLength,
      await failure(subtle.verify("HMAC", generated, text(""), text(""))),
    );

    const raw = Uint8Array.from({ length: 32 }, (_, i) => i);
    const iv = raw.slice(0, 12);
    for (const bytes of [16, 24, 32]) {
      const key = await subtle.importKey("raw", raw.slice(0, bytes), "AES-GCM", true, ["encrypt", "decrypt"]);
      const sealed = await subtle.encrypt({ name: "AES-GCM", iv, additionalData: text("head") }, key, text("plain"));
      const opened = await subtle.decrypt({ name: "AES-GCM", iv, additionalData: text("head") }, key, sealed);
      console.log(
        bytes * 8,
        hex(sealed),
        new TextDecoder().decode(opened),
        await failure(subtle.decrypt({ name: "AES-GCM", iv }, key, sealed)),
        (await subtle.exportKey("jwk", key)).alg,
      );
    }
    const key = await subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt", "decrypt"]);
    for (const [length, ivBytes] of [
      [32, 12],
      [96, 16],
      [128, 1],
      [104, 31],
    ]) {
      const algorithm = { name: "AES-GCM", iv: raw.slice(0, ivBytes), tagLength: length };
      const sealed = await subtle.encrypt(algorithm, key, text("x"));
      console.log(length, ivBytes, hex(sealed), new TextDecoder().decode(await subtle.decrypt(algorithm, key, sealed)));
    }
    console.log(
      await failure(subtle.encrypt({ name: "AES-GCM", iv, tagLength: 33 }, key, text(""))),
      await failure(subtle.encrypt({ name: "AES-GCM" }, key, text(""))),
      await failure(subtle.decrypt({ name: "AES-GCM", iv }, key, text("short"))),
    );
    console.log(
      await failure(subtle.exportKey("raw", key)),
      await failure(subtle.sign("HMAC", key, text(""))),
      await failure(subtle.encrypt({ name: "AES-GCM", iv }, hmac, text(""))),
    );

    for (const args of [
      ["raw", raw.slice(0, 15), "AES-GCM", true, ["encrypt"]],
      ["raw", raw, "AES-GCM", true, []],
      ["raw", raw, "AES-GCM", true, ["sign"]],
      ["raw", raw, "AES-GCM", true, ["nonsense"]],
      ["raw", raw, "NOPE", true, ["sign"]],
      ["raw", raw, { name: "HMAC" }, true, ["sign"]],
      ["raw", new Uint8Array(0), { name: "HMAC", hash: "SHA-1" }, true, ["sign"]],
      ["raw", raw, { name: "HMAC", hash: "SHA-1", length: 257 }, true, ["sign"]],
      ["jwk", { kty: "RSA" }, { name: "HMAC", hash: "SHA-1" }, true, ["sign"]],
      ["jwk", { kty: "oct", k: "c2VjcmV0", alg: "HS1" }, { name: "HMAC", hash: "SHA-256" }, true, ["sign"]],
      ["jwk", { kty: "oct", k: "c2VjcmV0", ext: false }, { name: "HMAC", hash: "SHA-256" }, true, ["sign"]],
      ["jwk", { kty: "oct", k: "c2VjcmV0", key_ops: ["verify"] }, { name: "HMAC", hash: "SHA-256" }, true, ["sign"]],
      ["jwk", { kty: "oct", k: "c2VjcmV0", use: "enc" }, { name: "HMAC", hash: "SHA-256" }, true, ["sign"]],
      ["jwk", raw, { name: "HMAC", hash: "SHA-256" }, true, ["sign"]],
      ["spki", raw, { name: "HMAC", hash: "SHA-256" }, true, ["sign"]],
    ])
      console.log(args[0], JSON.stringify(args[2]), args[4].join(), await failure(subtle.importKey(...args)));
    console.log(
      await failure(subtle.generateKey({ name: "AES-GCM", length: 100 }, true, ["encrypt"])),
      await failure(subtle.generateKey({ name: "AES-GCM", length: 256 }, true, [])),
      await failure(subtle.generateKey({ name: "HMAC", hash: "SHA-256", length: 0 }, true, ["sign"])),
    );
    console.log(
      thrown(() => new CryptoKey()),
      thrown(() => new SubtleCrypto()),
      thrown(() => new Crypto()),
      Object.prototype.toString.call(subtle),
      Object.prototype.toString.call(key),
      Object.prototype.toString.call(crypto),
    );
    return new Response("done");
  },
};
