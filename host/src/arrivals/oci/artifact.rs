//! What a manifest says of the one component in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conclave_core::ids::Digest;
use oci_client::manifest::OciManifest;

/// The layout's name of a component's description, which tells that an artifact is one.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// The layout's name of a component.
const LAYER: &str = "application/wasm";

/// The annotation of the manifest that holds the file of the signature as base64. A second layer would
/// be another layout.
pub const SIGNATURE_ANNOTATION: &str = "conclave.plugin.signature";

/// A signature is some hundred bytes.
const SIGNATURE_BYTES_MAX: usize = 16 << 10;

/// The component that an artifact holds.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) signature: Option<Vec<u8>>,
}

impl Artifact {
    /// Reads a manifest, or tells what it is instead.
    pub(super) fn parse(manifest: &[u8]) -> Result<Self, String> {
        let manifest: OciManifest = serde_json::from_slice(manifest)
            .map_err(|error| format!("has a manifest that cannot be read: {error}"))?;
        let image = match manifest {
            OciManifest::Image(image) => image,
            OciManifest::ImageIndex(index) => {
                let names: Vec<_> = index
                    .manifests
                    .iter()
                    .map(|it| it.digest.as_str())
                    .collect();
                let names = names.join(", ");
                return Err(format!(
                    "is an index of several artifacts; name one of: {names}"
                ));
            }
        };
        let config = image.config.media_type;
        if config != CONFIG {
            return Err(format!(
                "is no Wasm artifact: its config is `{config}`, and not `{CONFIG}`"
            ));
        }
        let [layer] = image.layers.as_slice() else {
            let count = image.layers.len();
            return Err(format!(
                "must hold exactly one component, and holds {count} layers"
            ));
        };
        if layer.media_type != LAYER {
            let of = &layer.media_type;
            return Err(format!("must hold `{LAYER}`, and holds `{of}`"));
        }
        let digest = layer.digest.parse();
        let digest =
            digest.map_err(|_| format!("has a layer without a sha256: {}", layer.digest))?;
        let bytes = u64::try_from(layer.size);
        let bytes = bytes.map_err(|_| format!("has a layer of {} bytes", layer.size))?;
        let annotations = image.annotations.unwrap_or_default();
        let signature = annotations.get(SIGNATURE_ANNOTATION).map(|text| {
            let decoded = STANDARD.decode(text.trim()).ok();
            let decoded = decoded.filter(|decoded| decoded.len() <= SIGNATURE_BYTES_MAX);
            decoded.ok_or_else(|| {
                format!(
                    "has an annotation `{SIGNATURE_ANNOTATION}` that is not the base64 of at most \
                     {SIGNATURE_BYTES_MAX} bytes"
                )
            })
        });
        Ok(Self {
            digest,
            bytes,
            signature: signature.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn manifest() -> Value {
        let layer = json!({"mediaType": LAYER, "digest": format!("sha256:{}", Digest::of(b"1")), "size": 1});
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": CONFIG, "digest": format!("sha256:{}", Digest::of(b"{}")), "size": 2},
            "layers": [layer],
            "annotations": {SIGNATURE_ANNOTATION: STANDARD.encode("by me")},
        })
    }

    fn parse(manifest: &Value) -> Result<Artifact, String> {
        Artifact::parse(manifest.to_string().as_bytes())
    }

    #[test]
    fn a_wasm_artifact_has_one_component_and_perhaps_a_signature() {
        let artifact = parse(&manifest()).unwrap();
        assert_eq!((artifact.digest, artifact.bytes), (Digest::of(b"1"), 1));
        assert_eq!(artifact.signature.unwrap(), b"by me");
    }

    #[test]
    fn what_is_another_artifact_is_refused_with_what_it_is() {
        type Change = fn(&mut Value);
        let changed = |change: Change| {
            let mut manifest = manifest();
            change(&mut manifest);
            parse(&manifest).unwrap_err()
        };
        let table: [(Change, &str); 6] = [
            (
                |it| it["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json"),
                "is no Wasm artifact: its config is `application/vnd.oci.image.config.v1+json`",
            ),
            (|it| it["layers"] = json!([]), "holds 0 layers"),
            (
                |it| it["layers"][0]["mediaType"] = json!("application/tar"),
                "holds `application/tar`",
            ),
            (
                |it| it["layers"][0]["size"] = json!(-1),
                "a layer of -1 bytes",
            ),
            (
                |it| it["layers"][0]["digest"] = json!("sha512:00"),
                "a layer without a sha256",
            ),
            (
                |it| it["annotations"][SIGNATURE_ANNOTATION] = json!("%"),
                "is not the base64",
            ),
        ];
        for (change, reason) in table {
            let error = changed(change);
            assert!(error.contains(reason), "{error}");
        }
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{"mediaType": "m", "digest": "sha256:aa", "size": 1}],
        });
        let error = parse(&index).unwrap_err();
        assert!(error.contains("name one of: sha256:aa"), "{error}");
    }
}
