//! The triggers that guard the ledger's tables, opened for tests: somebody who may do everything can do that.

use crate::server::Server;

/// Disables them.
pub const OFF: &str = "
    DO $$
    DECLARE change text;
    BEGIN
        FOR change IN SELECT format('ALTER TABLE %s DISABLE TRIGGER %I', tgrelid::regclass, tgname) FROM pg_trigger
                       WHERE tgname IN ('~ledger_stamp', 'ledger_append_only', 'ledger_append_only_statement', 'ledger_guard',
                                        'ledger_guard_statement')
        LOOP EXECUTE change; END LOOP;
    END $$";

/// Lets them fire always, as the ledger does.
pub const ON: &str = "
    DO $$
    DECLARE change text;
    BEGIN
        FOR change IN SELECT format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', tgrelid::regclass, tgname) FROM pg_trigger
                       WHERE tgname IN ('~ledger_stamp', 'ledger_append_only', 'ledger_append_only_statement', 'ledger_guard',
                                        'ledger_guard_statement')
        LOOP EXECUTE change; END LOOP;
    END $$";

/// These statements as one transaction past the guards.
pub fn past_guards(statements: &str) -> String {
    format!("BEGIN; {OFF}; {statements}; {ON}; COMMIT")
}

/// Runs statements past the guards.
pub fn tamper(server: &Server, statements: &str) {
    server.run(&past_guards(statements));
}
