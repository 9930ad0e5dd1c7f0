//! The JSON Schema of the three kinds of file, made from the records that read them.

use serde_json::{Map, Value as Json, json};

use super::origin::Kind;
use super::raw::{ProvidersFile, RoutesFile, ServerFile, TransportWord, UsersFile};
use super::read::Read;

/// Gathers the definitions that schemas refer to.
#[derive(Default)]
pub(super) struct Schemas {
    definitions: Map<String, Json>,
}

/// The properties of one record.
#[derive(Default)]
pub(super) struct Properties {
    properties: Map<String, Json>,
    required: Vec<&'static str>,
}

impl Schemas {
    /// A reference to the record's definition, which is made when first asked for.
    pub fn record(&mut self, record: &str, about: &str, fill: impl FnOnce(&mut Self, &mut Properties)) -> Json {
        let name = record.strip_prefix("Raw").unwrap_or(record);
        if !self.definitions.contains_key(name) {
            // Taken before it is filled: a record may refer to itself.
            self.definitions.insert(name.to_owned(), Json::Null);
            let mut all = Properties::default();
            fill(self, &mut all);
            let mut definition = json!({
                "type": "object",
                "description": about.trim(),
                "properties": all.properties,
                "additionalProperties": false,
            });
            if !all.required.is_empty()
                && let Some(object) = definition.as_object_mut()
            {
                object.insert("required".to_owned(), json!(all.required));
            }
            self.definitions.insert(name.to_owned(), definition);
        }
        json!({"$ref": format!("#/$defs/{name}")})
    }
}

impl Properties {
    pub fn add(&mut self, key: &'static str, needed: bool, about: &str, mut schema: Json) {
        if let Some(object) = schema.as_object_mut() {
            let about: Vec<&str> = about.lines().map(str::trim).collect();
            object.insert("description".to_owned(), json!(about.join(" ").trim()));
        }
        self.properties.insert(key.to_owned(), schema);
        if needed {
            self.required.push(key);
        }
    }
}

/// The schema of one kind of file (JSON Schema, draft 2020-12).
pub fn schema(kind: Kind) -> Json {
    let mut schemas = Schemas::default();
    let (title, root) = match kind {
        Kind::Server => ("waypost.yaml", ServerFile::schema(&mut schemas)),
        Kind::Users => ("the file of users: {file: ...}", UsersFile::schema(&mut schemas)),
        Kind::Routes => ("routes/*.yaml", RoutesFile::schema(&mut schemas)),
        Kind::Providers => ("providers/*.yaml", ProvidersFile::schema(&mut schemas)),
    };
    if let Some(provider) = schemas.definitions.get_mut("Provider").and_then(Json::as_object_mut) {
        let each: Vec<Json> = TransportWord::ALL.iter().map(|transport| by_transport(*transport)).collect();
        provider.insert("allOf".to_owned(), json!(each));
    }
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("waypost: {title}"),
        "$defs": schemas.definitions,
    });
    if let (Some(all), Some(root)) = (schema.as_object_mut(), root.as_object()) {
        all.extend(root.clone());
    }
    schema
}

/// What a transport needs, and what means nothing to it.
fn by_transport(transport: TransportWord) -> Json {
    let others = TransportWord::ALL.iter().flat_map(|other| other.own_keys()).filter(|key| !transport.takes(key));
    let none: Map<String, Json> = others.map(|key| ((*key).to_owned(), json!(false))).collect();
    json!({
        "if": {"properties": {"transport": {"const": transport.word()}}, "required": ["transport"]},
        "then": {"properties": none, "required": transport.needed_keys()},
    })
}
