//! Links every program of this crate as the runtime asks for; see `runtime/src/page_pool.rs`.

fn main() {
    let arg = std::env::var("DEP_LETHE_RUNTIME_LINK_ARG").expect("the runtime's build script sets it");
    println!("cargo::rustc-link-arg={arg}");
    println!("cargo::rerun-if-changed=build.rs");
}
