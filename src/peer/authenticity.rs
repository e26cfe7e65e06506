//! Whether the functions that this node calls at a peer are the extension's.
//!
//! The questions name functions of schema `converge_ledger`, and whoever may create that schema, or the database, can create functions of
//! these names. They would run with the rights of the role that the connection string names, which may be a superuser, or drop replication
//! slots. So the first question is sent only after the peer's catalogs have shown that superusers alone decide what it calls. A peer whose
//! superuser lies gains nothing by that: the call runs on a server where they may do everything already.
//!
//! The statement names objects of `pg_catalog` only, in which nobody can create anything unless the server allows changes to system tables,
//! and casts and operators between its types can be created by superusers alone.
//!
//! **Once for each connection is enough.** A connection stays in its database, which cannot be renamed or dropped while it lasts. What was
//! found can be changed by superusers alone: an extension is dropped and altered by its owner, a schema is dropped, renamed and opened to
//! others by its owner, a function is replaced by its owner, and nobody else can create one of the same name in the schema, with other
//! arguments or defaults, which could fit a call better. The owner of the database is none of these. A table's owner can attach
//! expressions to it (policies, predicates of indexes) that run while it is read, so tables count as functions do.
//!
//! Who is a superuser is an attribute of a role. A role that administers a managed service without the attribute is not trusted: its
//! members, whom this node cannot know, could replace the functions.

use super::row::Row;
use super::Problem;

/// What comes first in the transaction of settings and question: a role or a database may have made it serializable, and a hot standby
/// refuses to read in such a transaction.
pub const TRANSACTION: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY";

/// Its answer is one row with a column for each of [`FINDINGS`]: true where that does not apply.
pub const QUESTION: &str = "
    SELECT EXISTS (
               SELECT FROM pg_catalog.pg_extension AS extension
                WHERE extension.extname OPERATOR(pg_catalog.=) 'converge_ledger'),
           EXISTS (
               SELECT FROM pg_catalog.pg_extension AS extension
                 JOIN pg_catalog.pg_roles AS owner ON owner.oid OPERATOR(pg_catalog.=) extension.extowner
                WHERE extension.extname OPERATOR(pg_catalog.=) 'converge_ledger' AND owner.rolsuper),
           EXISTS (
               SELECT FROM pg_catalog.pg_namespace AS schema
                 JOIN pg_catalog.pg_roles AS owner ON owner.oid OPERATOR(pg_catalog.=) schema.nspowner
                 JOIN pg_catalog.pg_depend AS member
                   ON member.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid
                  AND member.objid OPERATOR(pg_catalog.=) schema.oid
                  AND member.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
                  AND member.deptype OPERATOR(pg_catalog.=) 'e'::pg_catalog.\"char\"
                 JOIN pg_catalog.pg_extension AS extension ON extension.oid OPERATOR(pg_catalog.=) member.refobjid
                WHERE schema.nspname OPERATOR(pg_catalog.=) 'converge_ledger'
                  AND extension.extname OPERATOR(pg_catalog.=) 'converge_ledger' AND owner.rolsuper),
           NOT EXISTS (
               SELECT FROM pg_catalog.pg_namespace AS schema
                CROSS JOIN LATERAL pg_catalog.aclexplode(schema.nspacl) AS granted
                 LEFT JOIN pg_catalog.pg_roles AS grantee ON grantee.oid OPERATOR(pg_catalog.=) granted.grantee
                WHERE schema.nspname OPERATOR(pg_catalog.=) 'converge_ledger'
                  AND granted.privilege_type OPERATOR(pg_catalog.=) 'CREATE' AND grantee.rolsuper IS NOT TRUE),
           NOT EXISTS (
               SELECT FROM pg_catalog.pg_proc AS function
                 JOIN pg_catalog.pg_namespace AS schema ON schema.oid OPERATOR(pg_catalog.=) function.pronamespace
                 LEFT JOIN pg_catalog.pg_roles AS owner ON owner.oid OPERATOR(pg_catalog.=) function.proowner
                WHERE schema.nspname OPERATOR(pg_catalog.=) 'converge_ledger'
                  AND (owner.rolsuper IS NOT TRUE
                       OR pg_catalog.starts_with(function.proname::pg_catalog.text, 'peer_')
                          AND NOT EXISTS (
                              SELECT FROM pg_catalog.pg_depend AS member
                                JOIN pg_catalog.pg_extension AS extension ON extension.oid OPERATOR(pg_catalog.=) member.refobjid
                               WHERE member.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid
                                 AND member.objid OPERATOR(pg_catalog.=) function.oid
                                 AND member.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
                                 AND member.deptype OPERATOR(pg_catalog.=) 'e'::pg_catalog.\"char\"
                                 AND extension.extname OPERATOR(pg_catalog.=) 'converge_ledger'))),
           NOT EXISTS (
               SELECT FROM pg_catalog.pg_class AS relation
                 JOIN pg_catalog.pg_namespace AS schema ON schema.oid OPERATOR(pg_catalog.=) relation.relnamespace
                 LEFT JOIN pg_catalog.pg_roles AS owner ON owner.oid OPERATOR(pg_catalog.=) relation.relowner
                WHERE schema.nspname OPERATOR(pg_catalog.=) 'converge_ledger' AND owner.rolsuper IS NOT TRUE)";

const FINDINGS: [&str; 6] = [
    "extension converge_ledger does not exist in its database",
    "the owner of extension converge_ledger in its database is not a superuser",
    "schema converge_ledger in its database does not belong to the extension, or its owner is not a superuser",
    "a role that is not a superuser has the privilege CREATE on schema converge_ledger in its database",
    "a function in schema converge_ledger in its database does not belong to the extension, or its owner is not a superuser",
    "the owner of a table in schema converge_ledger in its database is not a superuser",
];

/// Reads the row. Nothing of the peer may be called after an error.
pub fn read(row: &Row) -> Result<(), Problem> {
    for (column, finding) in FINDINGS.iter().enumerate() {
        if row.required(column)? != "t" {
            return Err(Problem::NotAuthentic(finding));
        }
    }
    Ok(())
}
