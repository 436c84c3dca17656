//! `ctx.storage` without concurrency: arguments, results, limits, errors.

use crate::host::id_of;
use crate::{call, prints, start, with_actors};

/// An actor whose `run` is `body`, with `storage` and `attempt(fn)`, which prints what `fn` throws.
fn script(body: &str) -> String {
    format!(
        "async function attempt(fn) {{ try {{ console.log('no error: ' + await fn()); }}
           catch (error) {{ console.log(`${{error.name}}: ${{error.message}}`); }} }}
         export class A extends DurableObject {{ async run() {{ const {{ storage }} = this.ctx; {body} }} }}"
    )
}

#[test]
fn what_is_put_can_be_got_and_what_is_not_there_is_undefined() {
    prints(
        &script(
            "await storage.put('k', { n: 1, list: [1n, new Date(0)], map: new Map([['a', new Set([1])]]) });
             const { n, list, map } = await storage.get('k');
             console.log(n, typeof list[0], list[1].toISOString(), map.get('a').has(1));
             console.log(await storage.get('nothing'));",
        ),
        &["1 bigint 1970-01-01T00:00:00.000Z true", "undefined"],
    );
}

#[test]
fn get_of_several_names_is_a_map_in_utf8_order_of_those_that_exist() {
    prints(
        &script(
            r"await storage.put({ b: 1, a: 2, '\u{1F600}': 3, '\uFFFD': 4 });
              const map = await storage.get(['\u{1F600}', '\uFFFD', 'b', 'none', 'a', 'a']);
              console.log(map instanceof Map, JSON.stringify([...map]));",
        ),
        &["true [[\"a\",2],[\"b\",1],[\"\u{fffd}\",4],[\"\u{1f600}\",3]]"],
    );
}

#[test]
fn undefined_fields_of_a_put_of_several_records_are_left_out() {
    prints(
        &script(
            "await storage.put({ a: 1, b: undefined, c: null });
             console.log(JSON.stringify([...await storage.list()]));",
        ),
        &["[[\"a\",1],[\"c\",null]]"],
    );
}

#[test]
fn delete_says_whether_or_how_many_records_there_were() {
    prints(
        &script(
            "await storage.put({ a: 1, b: 2, c: 3 });
             console.log(await storage.delete('a'), await storage.delete('a'));
             console.log(await storage.delete(['b', 'b', 'c', 'd']));
             console.log((await storage.list()).size);",
        ),
        &["true false", "2", "0"],
    );
}

#[test]
fn list_obeys_each_of_its_options() {
    let body = "await storage.put({ 'a:1': 1, 'a:2': 2, 'a:3': 3, 'b:1': 4, c: 5 });
        const names = async (options) => console.log([...(await storage.list(options)).keys()].join(' '));
        await names();
        await names({ prefix: 'a:' });
        await names({ start: 'a:2' });
        await names({ startAfter: 'a:2' });
        await names({ end: 'b:1' });
        await names({ reverse: true });
        await names({ limit: 2 });
        await names({ prefix: 'a:', start: 'a:2', end: 'a:3', reverse: true, limit: 9 });
        await names({ start: 'x' });";
    prints(
        &script(body),
        &[
            "a:1 a:2 a:3 b:1 c",
            "a:1 a:2 a:3",
            "a:2 a:3 b:1 c",
            "a:3 b:1 c",
            "a:1 a:2 a:3",
            "c b:1 a:3 a:2 a:1",
            "a:1 a:2",
            "a:2",
            "",
        ],
    );
}

#[test]
fn reads_see_writes_of_the_same_turn_in_the_order_they_were_made() {
    let body = "storage.put('k', 1);
        const one = storage.get('k');
        storage.put('k', 2);
        const two = storage.get('k');
        storage.delete('k');
        const three = storage.list();
        console.log(await one, await two, (await three).size);";
    prints(&script(body), &["1 2 0"]);
}

#[test]
fn delete_all_leaves_nothing_and_the_actor_goes_on() {
    let body = "await storage.put({ a: 1, b: 2 });
        await storage.deleteAll();
        console.log((await storage.list()).size);
        await storage.put('c', 3);
        console.log(await storage.get('c'));";
    prints(&script(body), &["0", "3"]);
}

#[test]
fn wrong_arguments_are_type_errors_that_say_what_is_wrong() {
    let body = "await attempt(() => storage.put('k', undefined));
        await attempt(() => storage.put('k'));
        await attempt(() => storage.get(undefined));
        await attempt(() => storage.get(['a', {}]));
        await attempt(() => storage.delete(Symbol()));
        await attempt(() => storage.get('k', 7));
        await attempt(() => storage.list({ start: 'a', startAfter: 'b' }));
        await attempt(() => storage.list({ limit: 0 }));
        await attempt(() => storage.list({ limit: -1 }));
        await attempt(() => storage.transaction(7));";
    prints(
        &script(body),
        &[
            "TypeError: put() called with undefined value",
            "TypeError: put() called with undefined value",
            "TypeError: get(): a name must be a string, got undefined",
            "TypeError: get(): a name must be a string, got object",
            "TypeError: delete(): a name must be a string, got symbol",
            "TypeError: get(): the options must be an object, got number",
            "TypeError: list() cannot be called with both start and startAfter values",
            "TypeError: list(): the limit must be positive",
            "TypeError: list(): the limit must be positive",
            "TypeError: transaction() needs a function",
        ],
    );
}

#[test]
fn names_and_values_up_to_their_limits_are_taken_and_one_byte_more_is_refused() {
    // A serialized string of one-byte characters is 2 bytes of version, 1 of tag, 3 of length, and its characters.
    let body = r"const name = '\u00e9'.repeat(1024);
        await storage.put(name, 1);
        console.log(await storage.get(name));
        await attempt(() => storage.put(name + 'x', 1));
        await attempt(() => storage.get(name + 'x'));
        await attempt(() => storage.delete([name + 'x']));
        const room = 131072 - 6;
        await storage.put('big', 'x'.repeat(room));
        console.log((await storage.get('big')).length === room);
        await attempt(() => storage.put('big', 'x'.repeat(room + 1)));
        console.log((await storage.get('big')).length === room);";
    let name = "é".repeat(32);
    let too_long = format!("RangeError: the name \"{name}\"... has 2049 bytes of UTF-8, the limit is 2048");
    prints(
        &script(body),
        &[
            "1",
            &too_long,
            &too_long,
            &too_long,
            "true",
            "RangeError: the value of \"big\" has 131073 bytes when serialized, the limit is 131072",
            "true",
        ],
    );
}

#[test]
fn a_call_names_at_most_128_records() {
    let body = "const names = Array.from({ length: 129 }, (_, i) => 'k' + i);
        const records = Object.fromEntries(names.map((name) => [name, 1]));
        await attempt(() => storage.get(names));
        await attempt(() => storage.put(records));
        await attempt(() => storage.delete(names));
        delete records.k0;
        await storage.put(records);
        console.log((await storage.get(names.slice(1))).size, await storage.delete(names.slice(1)));";
    let refused = "RangeError: 129 names in one call, the limit is 128";
    prints(&script(body), &[refused, refused, refused, "128 128"]);
}

#[test]
fn a_value_that_cannot_be_cloned_is_refused_by_name_and_nothing_is_written() {
    let body = "await attempt(() => storage.put({ good: 1, bad: () => 1 }));
        await attempt(() => storage.put('s', Symbol('x')));
        console.log((await storage.list()).size);";
    prints(
        &script(body),
        &[
            "DataCloneError: the value of \"bad\": () => 1 could not be cloned.",
            "DataCloneError: the value of \"s\": Symbol(x) could not be cloned.",
            "0",
        ],
    );
}

#[test]
fn what_storage_refuses_is_thrown_as_the_error_it_names() {
    prints(
        &script("await attempt(() => storage.put('refused', 1));"),
        &["RangeError: the fake storage refuses this name"],
    );
}

#[test]
fn a_getter_that_throws_inside_a_value_throws_its_own_error() {
    prints(
        &script("await attempt(() => storage.put('k', { get x() { throw new SyntaxError('mine'); } }));"),
        &["SyntaxError: mine"],
    );
}

#[test]
fn patched_intrinsics_cannot_break_storage_or_watch_it() {
    let body = "const seen = [];
        Array.prototype.push = Map.prototype.set = function () { seen.push('called'); return this; };
        Array.prototype[Symbol.iterator] = () => { throw new Error('iterated'); };
        Object.prototype.error = 'polluted';
        await storage.put({ a: 1, b: 2 });
        const map = await storage.get(['a', 'b']);
        const value = await storage.transaction(async (txn) => txn.get('a'));
        console.log(map.size, value, seen.length);";
    prints(&script(body), &["2 1 0"]);
}

#[test]
fn a_long_row_of_awaited_writes_is_committed_in_parts_and_one_that_is_not_awaited_is_not() {
    let body = "const value = 'x'.repeat(100_000);
        for (let i = 0; i < 40; i++) await storage.put('a' + i, value);
        await outside('/x');
        const writes = [];
        for (let i = 0; i < 40; i++) writes.push(storage.put('b' + i, value));
        await Promise.all(writes);
        await storage.transaction(async (txn) => { for (let i = 0; i < 40; i++) await txn.put('c' + i, value); });
        await outside('/x');
        for (let i = 0; i < 12000; i++) writes.push(storage.put('d' + i, 'x'.repeat(200)));
        await Promise.all(writes);";
    with_actors(&script(body), async |world| {
        let actor = start(&world).await;
        call(&actor, "run", "[]").await.expect("run works");
        let sizes: Vec<usize> = world.actor(&id_of("a")).storage.batches().iter().map(Vec::len).collect();
        assert_eq!(sizes, [11, 11, 11, 7, 40, 40, 12_000]);
    });
}

#[test]
fn nothing_enters_while_a_long_row_of_writes_waits_for_its_commit() {
    let script = "export class A extends DurableObject {
        async run() {
            for (let i = 0; i < 12; i++) await this.ctx.storage.put('k' + i, 'x'.repeat(100_000));
            console.log('written');
        }
        other() { console.log('other'); }
    }";
    with_actors(script, async |world| {
        world.holds.hold("sync");
        let actor = start(&world).await;
        let run = crate::spawn(&actor, "run");
        world.holds.until("sync", 1).await;
        let other = crate::spawn(&actor, "other");
        crate::until(|| actor.waiting() == 1, "the call is at the gate").await;
        world.holds.release("sync");
        run.await.expect("no panic").expect("it works");
        other.await.expect("no panic").expect("it works");
        assert_eq!(world.log(), ["written", "other"]);
    });
}

#[test]
fn the_writes_of_one_turn_are_one_batch_and_the_host_hears_of_every_turn() {
    let body = "storage.put('a', 1); await storage.put('b', 2); await null; storage.delete('a');
        await outside('/x');
        await storage.put('c', 3, { allowUnconfirmed: true });";
    with_actors(&script(body), async |world| {
        let actor = start(&world).await;
        call(&actor, "run", "[]").await.expect("run works");
        let storage = &world.actor(&id_of("a")).storage;
        assert_eq!(storage.batches(), [vec!["put a", "put b", "delete a"], vec!["put c unconfirmed"]]);
        assert!(storage.turns() >= 3, "the constructor, the call and the reply to fetch are turns");
    });
}
