//! Namespaces, ids, stubs, and calls over them, from a Worker and between actors.

use bytes::Bytes;
use lethe_runtime::{engine::InvocationError, host::Payload};

use crate::{call, host::id_of, request, start, with_actors};

/// A worker whose `fetch` is `body`, with `env` and `say(...)`, and an actor to call.
fn worker(body: &str) -> String {
    format!(
        "export class A extends DurableObject {{
            field = () => 'field';
            #n = 0;
            echo(...args) {{ return args; }}
            next() {{ return ++this.#n; }}
            async fail(kind) {{
                const error = kind === 'own' ? Object.assign(new Error('text'), {{ name: 'Custom' }}) : new RangeError('text');
                throw error;
            }}
            throwString() {{ throw 'just text'; }}
            unserializable() {{ return {{ f() {{}} }}; }}
            nothing() {{}}
            bomb() {{ return new Array(4096).fill('x'.repeat(2 ** 24)); }}
            long() {{ return 'x'.repeat(2 ** 25); }}
            fetch(request) {{ return new Response(request.method + ' ' + new URL(request.url).pathname); }}
            get computed() {{ return () => 'computed'; }}
            constructorName() {{ return this.constructor.name; }}
        }}
        export default {{
            async fetch(request, env) {{
                const lines = [];
                const say = (...values) => lines.push(values.map(String).join(' '));
                const attempt = async (fn) => {{
                    try {{ say('no error:', await fn()); }}
                    catch (error) {{ say(error.name + ':', error.message); return error; }}
                }};
                {body}
                return new Response(lines.join('\\n'));
            }}
        }};"
    )
}

/// The lines a worker says.
fn says(body: &str, expected: &[&str]) {
    with_actors(&worker(body), async |world| {
        let text = request(&world, "http://example.com/").await.unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    });
}

#[test]
fn ids_of_one_name_are_equal_and_remember_the_name() {
    let hex = id_of("x");
    says(
        "const id = env.A.idFromName('x');
         say(id, id.name, id.equals(env.A.idFromName('x')), id.equals(env.A.idFromName('y')));
         const again = env.A.idFromString(id.toString());
         say(again.equals(id), again.name, Object.prototype.toString.call(id));
         say(env.A.newUniqueId().toString().length, env.A.newUniqueId().name);",
        &[&format!("{hex} x true false"), "true undefined [object DurableObjectId]", "64 undefined"],
    );
}

#[test]
fn wrong_ids_are_type_errors() {
    let foreign = "ee".repeat(32);
    says(
        "await attempt(() => env.A.idFromString('abc'));
         await attempt(() => env.A.idFromString('ee'.repeat(32)));
         await attempt(() => env.A.get('x'));
         await attempt(() => env.A.get({ toString: () => 'x' }));
         await attempt(() => env.A.idFromName());
         await attempt(() => env.A.idFromName('x'.repeat(1025)));
         await attempt(() => env.A.idFromName('x').equals('x'));
         await attempt(() => new env.A.constructor('A'));",
        &[
            "TypeError: an actor id is 64 hex digits, got \"abc\"",
            &format!("TypeError: the id {foreign} is not of the namespace A"),
            "TypeError: get() needs a DurableObjectId, as idFromName() and idFromString() make",
            "TypeError: get() needs a DurableObjectId, as idFromName() and idFromString() make",
            "TypeError: idFromName() needs a name",
            "TypeError: an actor's name has 1025 bytes of UTF-8, the limit is 1024",
            "TypeError: equals() needs a DurableObjectId",
            "TypeError: Illegal constructor: namespaces come from the worker's bindings",
        ],
    );
}

#[test]
fn arguments_and_results_keep_their_types() {
    says(
        "const stub = env.A.getByName('a');
         const [map, date, big, bytes, nothing] =
             await stub.echo(new Map([['k', { v: 1 }]]), new Date(5), 2n ** 64n, new Uint8Array([1, 2]), undefined);
         say(map.get('k').v, date.getTime(), big, bytes.length, bytes instanceof Uint8Array, nothing);
         const error = (await stub.echo(new TypeError('inside')))[0];
         say(error instanceof TypeError, error.message);
         const round = { self: null }; round.self = round;
         const [back] = await stub.echo(round);
         say(back.self === back, await stub.nothing());",
        &["1 5 18446744073709551616 2 true undefined", "true inside", "true undefined"],
    );
}

#[test]
fn an_actor_keeps_its_state_between_calls() {
    says(
        "const stub = env.A.get(env.A.idFromName('a'));
         say(await stub.next(), await stub.next(), await env.A.getByName('a').next(), await env.A.getByName('b').next());",
        &["1 2 3 1"],
    );
}

#[test]
fn calls_on_one_stub_are_handed_over_in_the_order_they_were_made() {
    let body = "const stub = env.A.getByName('a');
        say((await Promise.all(Array.from({ length: 500 }, () => stub.next()))).join());";
    with_actors(&worker(body), async |world| {
        let text = request(&world, "http://example.com/").await.expect("it works");
        let expected: Vec<String> = (1..=500).map(|n| n.to_string()).collect();
        assert_eq!(text, expected.join(","));
        assert_eq!(world.calls().len(), 500);
    });
}

#[test]
fn a_stub_has_an_id_and_a_name_and_is_no_promise() {
    let hex = id_of("a");
    says(
        "const stub = env.A.getByName('a');
         say(stub.id, stub.name, stub.then, await stub === stub, 'next' in stub, String(stub), stub instanceof Object);
         say(env.A.get(env.A.idFromString(stub.id.toString())).name);
         say(typeof stub[Symbol.iterator], JSON.stringify(Object.keys(stub)));",
        &[&format!("{hex} a undefined true false [object DurableObject] true"), "undefined", "undefined []"],
    );
}

#[test]
fn an_exception_arrives_with_name_message_stack_and_the_mark_of_being_remote() {
    says(
        "const stub = env.A.getByName('a');
         const range = await attempt(() => stub.fail());
         say(range instanceof RangeError, range.remote, range.outcome, /index\\.js:\\d+:\\d+/.test(range.stack));
         const own = await attempt(() => stub.fail('own'));
         say(own instanceof Error, own.name, Object.keys(own).join());
         await attempt(() => stub.throwString());
         say(await stub.next());",
        &[
            "RangeError: text",
            "true true done true",
            "Custom: text",
            "true Custom outcome,remote",
            "Error: just text",
            "1",
        ],
    );
}

#[test]
fn only_methods_of_the_class_can_be_called() {
    let names = ["missing", "field", "n", "hasOwnProperty2", "alarm", "webSocketMessage", "dup", "connect"];
    let calls: String = names.iter().map(|name| format!("await attempt(() => stub.{name}());")).collect();
    let expected: Vec<String> = names.iter().map(|name| format!("TypeError: the actor has no method {name}")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    says(&format!("const stub = env.A.getByName('a'); {calls}"), &expected);
    says("say(await env.A.getByName('a').computed());", &["computed"]);
}

#[test]
fn names_that_every_object_has_cannot_be_called_from_outside() {
    with_actors(&worker(""), async |world| {
        let actor = start(&world).await;
        for name in
            ["__proto__", "constructor", "toString", "hasOwnProperty", "__defineGetter__", "fetch", "destroy", ""]
        {
            let answer = call(&actor, name, "[]").await;
            assert_eq!(answer, Err(InvocationError::NoHandler(format!("the actor has no method {name}"))), "{name}");
        }
        assert_eq!(call(&actor, "constructorName", "[]").await, Ok("\"A\"".into()));
    });
}

#[test]
fn what_cannot_be_cloned_is_named_on_both_ways() {
    says(
        "const stub = env.A.getByName('a');
         await attempt(() => stub.echo(1, () => 2, 3));
         await attempt(() => stub.echo({ deep: [Symbol('s')] }));
         await attempt(() => stub.echo({ get x() { throw new SyntaxError('mine'); } }));
         await attempt(() => stub.unserializable());",
        &[
            "DataCloneError: argument 2 of echo(): () => 2 could not be cloned.",
            "DataCloneError: argument 1 of echo(): Symbol(s) could not be cloned.",
            "SyntaxError: mine",
            "DataCloneError: the result of unserializable(): f() {} could not be cloned.",
        ],
    );
}

#[test]
fn objects_that_mean_something_here_only_are_refused_and_not_taken_for_plain_ones() {
    says(
        "const stub = env.A.getByName('a');
         for (const value of [stub, stub.id, env.A, [{ deep: stub }], new RpcTarget(), new (class T extends RpcTarget {})]) {
             await attempt(() => stub.echo(value));
         }
         const platform = [new Request('http://x/'), new Response(), new Headers(), new URL('http://x/'),
             new ReadableStream(), new Event('e'), new AbortController().signal, new TextDecoder(), new Response('x').body];
         for (const value of platform) await attempt(() => stub.echo(value));
         say(JSON.stringify(await stub.echo(new (class Point { x = 1; }), Object.create(null))));",
        &[
            "DataCloneError: argument 1 of echo(): #<DurableObject> could not be cloned.",
            "DataCloneError: argument 1 of echo(): #<DurableObjectId> could not be cloned.",
            "DataCloneError: argument 1 of echo(): #<DurableObjectNamespace> could not be cloned.",
            "DataCloneError: argument 1 of echo(): #<DurableObject> could not be cloned.",
            "DataCloneError: argument 1 of echo(): #<RpcTarget> could not be cloned.",
            "DataCloneError: argument 1 of echo(): #<T> could not be cloned.",
            "DataCloneError: argument 1 of echo(): #<Request> could not be cloned.",
            "DataCloneError: argument 1 of echo(): #<Response> could not be cloned.",
            "DataCloneError: argument 1 of echo(): #<Headers> could not be cloned.",
            "DataCloneError: argument 1 of echo(): #<URL> could not be cloned.",
            "DataCloneError: argument 1 of echo(): #<ReadableStream> could not be cloned.",
            "DataCloneError: argument 1 of echo(): #<Event> could not be cloned.",
            "DataCloneError: argument 1 of echo(): #<AbortSignal> could not be cloned.",
            "DataCloneError: argument 1 of echo(): #<TextDecoder> could not be cloned.",
            "DataCloneError: argument 1 of echo(): #<ReadableStream> could not be cloned.",
            "[{\"x\":1},{}]",
        ],
    );
}

#[test]
fn messages_over_32_mib_are_refused_with_their_size() {
    says(
        "const stub = env.A.getByName('a');
         const error = await attempt(() => stub.echo(new Uint8Array(33 * 1024 * 1024)));
         say(error instanceof RangeError);",
        &["RangeError: the arguments of echo(): 34603028 bytes when serialized, the limit is 33554432", "true"],
    );
}

#[test]
fn a_value_that_is_small_in_memory_and_huge_when_serialized_is_refused_before_it_is_huge() {
    says(
        "const stub = env.A.getByName('a');
         const bomb = new Array(4096).fill('x'.repeat(2 ** 24));
         await attempt(() => stub.echo(bomb));
         await attempt(() => stub.echo({ get x() { return structuredClone(new Uint8Array(2 ** 25)).length; } }));
         await attempt(() => structuredClone(bomb));
         await attempt(() => stub.bomb());",
        &[
            "RangeError: the arguments of echo(): too large when serialized, the limit is 33554432 bytes",
            "no error: [object Object]",
            "DataCloneError: Data cannot be cloned, out of memory.",
            "RangeError: the result of bomb(): too large when serialized, the limit is 33554432 bytes",
        ],
    );
    with_actors(&worker(""), async |world| {
        let actor = start(&world).await;
        let error = call(&actor, "long", "[]").await.expect_err("too long").to_string();
        assert_eq!(error, "RangeError: the result of long(): 33554434 characters of JSON, the limit is 33554432");
    });
}

#[test]
fn a_stub_fetches_with_a_request_or_a_url() {
    says(
        "const stub = env.A.getByName('a');
         say(await (await stub.fetch('http://do/path')).text());
         say(await (await stub.fetch(new Request('http://do/other', { method: 'PUT' }))).text());
         const response = await stub.fetch('http://do/x', { method: 'POST', body: 'text' });
         say(response instanceof Response, response.status, await response.text());",
        &["GET /path", "PUT /other", "true 200 POST /x"],
    );
}

#[test]
fn bodies_stream_to_an_actor_and_back() {
    let script = "export class A extends DurableObject {
            async fetch(request) {
                const reader = request.body.getReader();
                const { writable, readable } = new TransformStream();
                const writer = writable.getWriter();
                this.ctx.waitUntil((async () => {
                    for (;;) {
                        const { done, value } = await reader.read();
                        if (done) break;
                        await writer.write(value.map((byte) => byte + 1));
                    }
                    await writer.close();
                })());
                return new Response(readable, { status: 201, headers: { 'x-a': 'b' } });
            }
        }
        export default {
            async fetch(request, env) {
                let pull;
                const body = new ReadableStream({
                    async pull(controller) {
                        pull = (pull ?? 0) + 1;
                        if (pull > 3) controller.close();
                        else controller.enqueue(new Uint8Array([96 + pull]));
                    },
                });
                const response = await env.A.getByName('a').fetch('http://do/', { method: 'POST', body, duplex: 'half' });
                return new Response(`${response.status} ${response.headers.get('x-a')} ${await response.text()}`);
            }
        }";
    with_actors(script, async |world| {
        assert_eq!(request(&world, "http://example.com/").await, Ok("201 b bcd".into()));
    });
}

#[test]
fn a_fetch_of_an_actor_can_be_aborted() {
    let body = "const stub = env.A.getByName('a');
        const controller = new AbortController();
        const fetching = attempt(() => stub.fetch('http://do/slow', { signal: controller.signal }));
        await stub.next();
        controller.abort();
        await fetching;
        say(await stub.next());";
    with_actors(&worker(body), async |world| {
        world.holds.hold("call GET http://do/slow");
        let text = request(&world, "http://example.com/").await.unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(text.lines().collect::<Vec<_>>(), ["AbortError: The operation was aborted", "2"]);
    });
}

#[test]
fn a_destroyed_actor_answers_nothing_any_more() {
    says(
        "const stub = env.A.getByName('a');
         await stub.next();
         say(await stub.destroy());
         const error = await attempt(() => stub.next());
         say(error.remote, error.outcome);
         await attempt(() => stub.fetch('http://do/'));
         await attempt(() => env.A.getByName('a').next());
         say(await env.A.getByName('b').next());",
        &[
            "undefined",
            "ActorDestroyed: the actor was destroyed",
            "undefined not done",
            "ActorDestroyed: the actor was destroyed",
            "ActorDestroyed: the actor was destroyed",
            "1",
        ],
    );
}

#[test]
fn a_reset_is_told_to_the_caller_and_the_next_call_meets_a_new_instance() {
    let script = "
        export class A extends DurableObject {
            #n = 0;
            next() { return ++this.#n; }
            abort() { this.ctx.abort('enough'); }
        }
        export default {
            async fetch(request, env) {
                const stub = env.A.getByName('a');
                await stub.next();
                const error = await stub.abort().catch((error) => error);
                const { name, message, remote, outcome, durableObjectReset, retryable, stack } = error;
                const own = /index\\.js/.test(stack) && !/lethe:/.test(stack);
                return Response.json([name, message, remote, outcome, durableObjectReset, retryable, own, await stub.next()]);
            }
        }";
    with_actors(script, async |world| {
        let text = request(&world, "http://example.com/").await.expect("it works");
        assert_eq!(text, "[\"ActorReset\",\"enough\",null,\"unknown\",true,true,true,1]");
    });
}

#[test]
fn an_actor_can_destroy_itself() {
    let script = "export class A extends DurableObject {
        async run() { console.log(await this.ctx.destroy()); }
    }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        call(&actor, "run", "[]").await.expect("it answers");
        assert_eq!(world.log(), ["undefined"]);
    });
}

#[test]
fn calls_that_come_as_json_are_answered_as_json() {
    with_actors(&worker(""), async |world| {
        let actor = start(&world).await;
        assert_eq!(call(&actor, "echo", "[1, {\"a\": [null]}]").await, Ok("[1,{\"a\":[null]}]".into()));
        assert_eq!(call(&actor, "nothing", "[]").await, Ok("null".into()));
        for (args, expected) in [("{}", "TypeError: the arguments of a call must be an array"), ("[1", "SyntaxError: ")]
        {
            let error = call(&actor, "echo", args).await.expect_err("the arguments are wrong").to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    });
}

#[test]
fn bytes_that_are_no_serialized_value_are_an_error_of_the_call_only() {
    with_actors(&worker(""), async |world| {
        let actor = start(&world).await;
        for bytes in [&b""[..], b"\xff", b"\xff\x0f", b"garbage that is long enough to look like something"] {
            let answer = actor.call("echo", Payload::V8(Bytes::copy_from_slice(bytes))).await;
            assert!(matches!(answer, Err(InvocationError::Exception(_))), "{bytes:?}: {answer:?}");
        }
        assert_eq!(call(&actor, "next", "[]").await, Ok("1".into()));
    });
}

#[test]
fn ctx_and_env_are_what_the_constructor_got() {
    let script = "export class A extends DurableObject {
        constructor(ctx, env) { super(ctx, env); this.same = this.ctx === ctx && this.env === env && ctx.env === env; }
        run() { console.log(this.same, `${this.ctx.id}`, this.ctx.id.name, this.ctx.storage === this.ctx.storage); }
    }";
    with_actors(script, async |world| {
        let actor = start(&world).await;
        call(&actor, "run", "[]").await.expect("it works");
        assert_eq!(world.log(), [format!("true {} a true", id_of("a"))]);
    });
}

#[test]
fn wait_until_keeps_nothing_out_and_its_rejection_is_logged() {
    let script = "export class A extends DurableObject {
        run() { this.ctx.waitUntil(outside('/x').then(() => { throw new Error('late'); })); return 1; }
    }";
    with_actors(script, async |world| {
        world.holds.hold("outside /x");
        let actor = start(&world).await;
        assert_eq!(call(&actor, "run", "[]").await, Ok("1".into()));
        assert!(!actor.is_idle());
        world.holds.release("outside /x");
        crate::until(|| actor.is_idle(), "waitUntil has settled").await;
        assert!(world.log()[0].contains("late"), "{:?}", world.log());
    });
}

/// Actors that are called in more ways than an isolate keeps names of.
const MANY: &str = "
    export class A extends DurableObject {}
    for (let i = 0; i < 40; i++) A.prototype[`m${i}`] = () => i;
    A.prototype['m'.repeat(500)] = () => 'long';
    export default {};";

#[test]
fn every_method_of_many_is_found_by_its_own_name_again_and_again() {
    with_actors(MANY, async |world| {
        let actor = start(&world).await;
        for round in 0..3 {
            for number in 0..40 {
                let answer = call(&actor, &format!("m{number}"), "[]").await;
                assert_eq!(answer, Ok(number.to_string()), "round {round}");
            }
            assert_eq!(call(&actor, &"m".repeat(500), "[]").await, Ok("\"long\"".into()));
            assert!(matches!(call(&actor, "m40", "[]").await, Err(InvocationError::NoHandler(_))));
        }
    });
}

/// Results that may be promises, and such that cannot be.
const RESULTS: &str = "
    export class A extends DurableObject {
        number() { return 1; }
        none() { return null; }
        nothing() {}
        object() { return { a: 1 }; }
        promise() { return Promise.resolve(2); }
        thenable() { return { then: (done) => done(3) }; }
        rejected() { return Promise.reject(new RangeError('late')); }
        thrown() { throw new RangeError('at once'); }
        big() { return 1n; }
        bigLater() { return Promise.resolve(1n); }
        cruel() {
            const promise = Promise.resolve(4);
            Object.defineProperty(promise, 'constructor', { get() { throw new RangeError('cruel'); } });
            return promise;
        }
    }
    export default {};";

#[test]
fn results_are_answers_whether_they_can_be_promises_or_not() {
    with_actors(RESULTS, async |world| {
        let actor = start(&world).await;
        for (method, expected) in [
            ("number", "1"),
            ("none", "null"),
            ("nothing", "null"),
            ("object", "{\"a\":1}"),
            ("promise", "2"),
            ("thenable", "3"),
        ] {
            assert_eq!(call(&actor, method, "[]").await, Ok(expected.to_owned()), "{method}");
        }
        for (method, expected) in [
            ("rejected", "RangeError: late"),
            ("thrown", "RangeError: at once"),
            ("big", "BigInt"),
            ("bigLater", "BigInt"),
            ("cruel", "RangeError: cruel"),
        ] {
            match call(&actor, method, "[]").await {
                Err(InvocationError::Exception(error)) => {
                    assert!(error.to_string().contains(expected), "{method}: {error}")
                }
                other => panic!("{method}: {other:?}"),
            }
        }
    });
}
