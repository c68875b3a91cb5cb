//! What a component is made of, read from its sections before anything is compiled: a refusal then
//! costs nothing, and can name every reason at once.

use std::collections::BTreeSet;

use wasmparser::{
    BinaryReaderError, ComponentExternalKind, ComponentTypeRef, Parser, Payload, TypeBounds,
};

use super::Refusal;
use super::limits::{PluginLimits, key};
use super::world::{World, world_of};

/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 64 << 10;
/// Imports of a component, and exports: a component of Python has 25. More of them would be refused one
/// by one, which takes a hundred times the memory that they take in the file.
const NAMES_MAX: u32 = 2_000;
/// Modules and components around each other; a toolchain makes three.
const DEPTH_MAX: u32 = 100;

/// What the sections tell. Whether they are valid is for the compiler to say.
#[derive(Debug, Default)]
struct Outline {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
    /// The largest size that a memory starts with.
    memory_bytes: u64,
    /// The largest size that a table starts with.
    table_elements: u64,
    /// Whether it holds the QuickJS engine of jco.
    quickjs: bool,
}

/// Why there is no outline.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("cannot be read: {0}")]
    Broken(#[from] BinaryReaderError),
    #[error(
        "has more than {NAMES_MAX} {0}, which no plugin may have: a plugin needs those of its world only"
    )]
    TooManyNames(&'static str),
    #[error(
        "has more than {DEPTH_MAX} modules and components inside each other, which no plugin may have: \
         compose it from fewer"
    )]
    TooDeep,
}

/// What the linker of jco's QuickJS backend puts before the names of its engine's symbols.
const QUICKJS: &str = "componentize_qjs_runtime.wasm:";

/// The world of the component, or every reason against it that needs no compiler. It reads all of the
/// component: not for a thread that others wait for.
pub(super) fn look(bytes: &[u8], limits: &PluginLimits) -> Result<World, Refusal> {
    let mut reasons = Vec::new();
    let mut check = |what: &str, found: u64, max: u64, key: &str, remedy: &str| {
        if found > max {
            reasons.push(format!(
                "has {found} {what}, at most {max} are allowed (`{key}`): {remedy}, or raise the limit"
            ));
        }
    };
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    check(
        "bytes",
        size,
        limits.component_bytes_max,
        key::COMPONENT_BYTES,
        "strip it",
    );
    if let Some(reason) = no_component(bytes) {
        reasons.push(reason);
        return Err(Refusal { reasons });
    }
    let outline = match Outline::read(bytes) {
        Ok(outline) => outline,
        Err(unread) => {
            reasons.push(unread.to_string());
            return Err(Refusal { reasons });
        }
    };
    let table_elements_max = limits.table_elements_max.into();
    check(
        "bytes in a memory at its start",
        outline.memory_bytes,
        limits.memory_bytes_max,
        key::MEMORY_BYTES,
        "link it with less initial memory",
    );
    check(
        "elements in a table at its start",
        outline.table_elements,
        table_elements_max,
        key::TABLE_ELEMENTS,
        "link fewer functions",
    );
    if outline.quickjs {
        reasons.push(
            "is made by jco's QuickJS backend, which reads large numbers as negative and fixes its \
             randomness when it is built: leave `--backend` out"
                .to_owned(),
        );
    }
    match world_of(&outline.imports, &outline.exports) {
        Ok(world) if reasons.is_empty() => return Ok(world),
        Ok(_) => {}
        Err(refusal) => reasons.extend(refusal.reasons),
    }
    Err(Refusal { reasons })
}

/// Why the first bytes are not those of a component, if they are not.
fn no_component(bytes: &[u8]) -> Option<String> {
    let reason = match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => return None,
        [0, b'a', b's', b'm', _, _, 0, 0, ..] => {
            "is a core module, a plugin must be a component: build it for the target wasm32-wasip2, \
             or with cargo component, componentize-py or jco"
        }
        _ => {
            "is not a WebAssembly binary, a plugin must be a component: build it for the target \
             wasm32-wasip2, or with cargo component, componentize-py or jco"
        }
    };
    Some(reason.to_owned())
}

impl Outline {
    fn read(bytes: &[u8]) -> Result<Self, Unread> {
        let mut outline = Self::default();
        let (mut imported, mut exported) = (0_u32, 0_u32);
        // How many modules and components are around the section; the component itself is the first.
        let mut depth = 1_u32;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    depth += 1;
                    if depth > DEPTH_MAX {
                        return Err(Unread::TooDeep);
                    }
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 1 => {
                    imported = imported.saturating_add(imports.count());
                    if imported > NAMES_MAX {
                        return Err(Unread::TooManyNames("imports"));
                    }
                    for import in imports {
                        let import = import?;
                        // A world that uses types by name imports them as equal to known ones.
                        if !matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_))) {
                            outline.imports.insert(import.name.name.to_owned());
                        }
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 1 => {
                    exported = exported.saturating_add(exports.count());
                    if exported > NAMES_MAX {
                        return Err(Unread::TooManyNames("exports"));
                    }
                    for export in exports {
                        let export = export?;
                        if export.kind != ComponentExternalKind::Type {
                            outline.exports.insert(export.name.name.to_owned());
                        }
                    }
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        let bytes = memory?.initial.saturating_mul(PAGE_BYTES);
                        outline.memory_bytes = outline.memory_bytes.max(bytes);
                    }
                }
                Payload::TableSection(tables) => {
                    for table in tables {
                        outline.table_elements = outline.table_elements.max(table?.ty.initial);
                    }
                }
                Payload::ExportSection(exports) if !outline.quickjs => {
                    for export in exports {
                        outline.quickjs |= export?.name.starts_with(QUICKJS);
                    }
                }
                _ => {}
            }
        }
        Ok(outline)
    }
}
