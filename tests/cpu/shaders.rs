//! The table and its files: nothing is missing, modules are valid, layouts agree.

use std::collections::BTreeSet;
use std::path::Path;

use gatefold::kernels;
use naga::valid::{Capabilities, ValidationFlags, Validator};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of the Rust files or folders of a folder, but `except`.
fn stems(folder: &str, extension: &str, except: &[&str]) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() || path.extension().is_some_and(|e| e == extension))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !except.contains(&name.as_str()))
        .collect()
}

#[test]
fn every_kernel_has_its_three_files() {
    let table: BTreeSet<String> = kernels::table().0.iter().map(|k| k.name.to_owned()).collect();
    assert_eq!(stems("shaders", "wgsl", &["common"]), table, "shaders/");
    assert_eq!(stems("src/kernels", "rs", &["mod"]), table, "src/kernels/");
    assert_eq!(
        stems("src/reference", "rs", &["mod", "compare", "sequence"]),
        table,
        "src/reference/"
    );
    let benches = std::fs::read_to_string(root().join("benches/kernels.rs")).unwrap();
    for kernel in kernels::table().0 {
        assert!(!kernel.variants.is_empty(), "{} has no shader", kernel.name);
        assert!(benches.contains(&format!("\"{}\"", kernel.name)), "{} has no bench", kernel.name);
    }
}

#[test]
fn ids_are_positions() {
    let table = kernels::table();
    let ids = [
        (kernels::MATMUL, "matmul"),
        (kernels::LSTM_STEP_FORWARD, "lstm_step_forward"),
        (kernels::LSTM_STEP_BACKWARD, "lstm_step_backward"),
        (kernels::COLUMN_SUM, "column_sum"),
        (kernels::REDUCE_SUM, "reduce_sum"),
        (kernels::MSE_LOSS, "mse_loss"),
        (kernels::ADAM, "adam"),
        (kernels::COPY_SEQUENCE, "copy_sequence"),
        (kernels::COPY_AT_LENGTH, "copy_at_length"),
        (kernels::DROPOUT, "dropout"),
    ];
    assert_eq!(ids.len(), table.0.len());
    for (id, name) in ids {
        assert_eq!(table[id].name, name);
    }
}

#[test]
fn modules_are_valid_and_agree_with_their_rows() {
    let mut modules = 0;
    for kernel in kernels::table().0 {
        for variant in &kernel.variants {
            let what = format!("{} ({})", kernel.name, variant.name);
            let module = naga::front::wgsl::parse_str(&variant.source)
                .unwrap_or_else(|e| panic!("{what}: {}", e.emit_to_string(&variant.source)));
            // What every device has: no optional capability.
            let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
            validator.validate(&module).unwrap_or_else(|e| panic!("{what}: {e:?}"));

            let mut storage = 0;
            for (_, variable) in module.global_variables.iter() {
                let Some(binding) = &variable.binding else { continue };
                assert_eq!(binding.group, 0, "{what}");
                match variable.space {
                    naga::AddressSpace::Uniform => {
                        assert_eq!(binding.binding, 0, "{what}");
                        let naga::TypeInner::Struct { members, span } =
                            &module.types[variable.ty].inner
                        else {
                            panic!("{what}: the constants are no struct");
                        };
                        assert_eq!(
                            *span as usize, kernel.params_size,
                            "{what}: the constants' size"
                        );
                        assert_eq!(
                            members.len(),
                            kernel.fields.len(),
                            "{what}: the constants' fields"
                        );
                        for (member, field) in members.iter().zip(kernel.fields) {
                            assert_eq!(
                                member.offset as usize, field.offset,
                                "{what}: {}",
                                field.name
                            );
                            let scalar = match field.ty {
                                "u32" => naga::Scalar::U32,
                                "i32" => naga::Scalar::I32,
                                "f32" => naga::Scalar::F32,
                                other => panic!("{what}: {} is {other}", field.name),
                            };
                            let inner = &module.types[member.ty].inner;
                            let same = *inner == naga::TypeInner::Scalar(scalar);
                            assert!(same, "{what}: {} is {inner:?}", field.name);
                        }
                    }
                    naga::AddressSpace::Storage { access } => {
                        storage += 1;
                        let row = &kernel.bindings[binding.binding as usize - 1];
                        assert_eq!(variable.name.as_deref(), Some(row.name), "{what}");
                        let writes = row.access == gatefold::command::Access::ReadWrite;
                        assert_eq!(
                            access.contains(naga::StorageAccess::STORE),
                            writes,
                            "{what}: {}",
                            row.name
                        );
                    }
                    other => panic!("{what}: a binding in {other:?}"),
                }
            }
            assert_eq!(storage, kernel.bindings.len(), "{what}: bindings");
            assert!(storage <= 8, "{what}: WebGPU offers 8 storage buffers");
            let entry = &module.entry_points[0];
            assert_eq!(
                (entry.name.as_str(), entry.workgroup_size),
                ("main", variant.workgroup),
                "{what}"
            );
            let invocations: u32 = variant.workgroup.iter().product();
            assert!(invocations <= 256, "{what}: WebGPU offers 256 invocations");
            modules += 1;
        }
    }
    assert!(modules >= 10);
}

#[test]
fn field_names_agree() {
    for kernel in kernels::table().0 {
        for variant in &kernel.variants {
            let text = variant.source.split("struct Params {").nth(1).unwrap();
            let body = text.split('}').next().unwrap();
            let names: Vec<&str> =
                body.lines().filter_map(|l| l.trim().split_once(':')).map(|(n, _)| n).collect();
            let fields: Vec<&str> = kernel.fields.iter().map(|f| f.name).collect();
            assert_eq!(names, fields, "{}", kernel.name);
        }
    }
}
