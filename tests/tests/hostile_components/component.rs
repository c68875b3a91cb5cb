//! Strategies whose core module is written as text.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What a module of a strategy consists of; each part may be replaced by a hostile one.
pub(crate) struct Parts<'a> {
    /// Its imports, which stand first.
    pub(crate) imports: &'a str,
    /// More functions, tables, globals and so on.
    pub(crate) fields: &'a str,
    /// The body of the allocator that the host calls for what it gives to the strategy.
    pub(crate) realloc: &'a str,
    /// The body of `describe`: it leaves the address of the descriptor.
    pub(crate) describe: &'a str,
    /// The body of `deliberate`: it leaves the address of the result.
    pub(crate) deliberate: &'a str,
    /// The memory, named `$memory`.
    pub(crate) memory: &'a str,
}

impl Default for Parts<'_> {
    /// A sound strategy, which fails with its name as the error.
    fn default() -> Self {
        Self {
            imports: "",
            fields: "",
            realloc: BUMP,
            describe: "i32.const 64",
            deliberate: "i32.const 128",
            memory: "(memory $memory 1)",
        }
    }
}

/// Gives addresses from 1024 on, and grows the memory for them.
const BUMP: &str = "
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (block $enough (loop $more
        (br_if $enough (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
        (br_if $enough (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
        (br $more)))
    (local.get $at)";

impl Parts<'_> {
    /// The module as text. It wants the param `run`, so that no check rehearses it: it is for a host to
    /// meet what it does. At 64 is the descriptor `hostile-text`, 1.0.0; at 128 an error string.
    pub(crate) fn module(&self) -> String {
        let Self {
            imports,
            fields,
            realloc,
            describe,
            deliberate,
            memory,
        } = self;
        // Name at 0, version at 12, summary at 17, schema at 22: addresses and lengths.
        let descriptor = r"\00\00\00\00\0c\00\00\00\0c\00\00\00\05\00\00\00\11\00\00\00\05\00\00\00\16\00\00\00\14\00\00\00";
        // Seven texts and lists: an address and a length of each.
        let task = "i32 ".repeat(14);
        let error = r"\01\00\00\00\00\00\00\00\0c\00\00\00";
        format!(
            r#"(module
                {imports}
                {memory}
                (export "memory" (memory $memory))
                (global $free (mut i32) (i32.const 1024))
                (data (i32.const 0) "hostile-text1.0.0Text.{{\22required\22:[\22run\22]}}")
                (data (i32.const 64) "{descriptor}")
                (data (i32.const 128) "{error}")
                {fields}
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
                (func (export "conclave:deliberation/describe@0.1.0#describe") (result i32) {describe})
                (func (export "deliberate") (param {task}) (result i32) {deliberate}))"#
        )
    }

    /// The component.
    pub(crate) fn component(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.module()).expect("the text is a module");
        let mut resolve = Resolve::default();
        let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/0.1.0");
        let (package, _) = resolve.push_dir(wit).expect("the contract is there");
        let world = resolve.select_world(&[package], Some("strategy"));
        let world = world.expect("it has the world");
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .expect("the world is encoded");
        // What is valid is for the host to say.
        let mut encoder = ComponentEncoder::default()
            .validate(false)
            .module(&module)
            .expect("the module is of the world");
        encoder.encode().expect("it is encoded")
    }
}

/// Computes without end.
pub(crate) const SPIN: &str = "(loop $spin (br $spin)) unreachable";
