import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.HexFormat;

public class Jdbc {
    private static final PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    private static String following;
    private static int handled;

    /** One line for each case: context, and in hexadecimal digits text, bytes and JSON. */
    public static void main(String[] arguments) throws Exception {
        var url = String.format("jdbc:postgresql://%s:%s/%s?user=%s%s",
            System.getenv("PGHOST"), System.getenv("PGPORT"), System.getenv("PGDATABASE"), System.getenv("PGUSER"), arguments[0]);
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8)).lines().toList();
        // In this mode the driver writes parameters into the statement as literals. It cannot send bytes then.
        try (var connection = DriverManager.getConnection(url); var simple = DriverManager.getConnection(url + "&preferQueryMode=simple")) {
            for (var line : lines) {
                var values = line.split("\t", -1);
                var hex = HexFormat.of();
                following = values[0];
                handled = 0;
                run(connection, values[0], new String(hex.parseHex(values[1]), StandardCharsets.UTF_8), hex.parseHex(values[2]),
                    new String(hex.parseHex(values[3]), StandardCharsets.UTF_8));
                plainly(simple, values[0], "text", new String(hex.parseHex(values[1]), StandardCharsets.UTF_8));
            }
        }
    }

    private static void run(Connection connection, String ledger, String text, byte[] data, String document) throws Exception {
        var request = "request 1";
        long position = 0;
        long sequence = 0;
        // the example
        out.printf("%s\t%d\tretried%n", ledger, sequence);
        plainly(connection, ledger, "text", text);
        plainly(connection, ledger, "bytes", data);
        plainly(connection, ledger, "json", document);
    }

    /** Handles the entries of a context until all that the example has appended were there. */
    private static boolean running() {
        return handled < 4;
    }

    private static void handle(long sequence, String key, byte[] payload) {
        out.printf("%s\t%d\t%s\t%s%n", following, sequence, key, HexFormat.of().formatHex(payload));
        handled++;
    }

    /** Calls the overloaded function in the plainest way: it may refuse. */
    private static void plainly(Connection connection, String ledger, String key, Object payload) {
        try (var append = connection.prepareStatement("SELECT ledger_append(?, ?, ?)")) {
            append.setString(1, ledger);
            append.setString(2, key);
            append.setObject(3, payload);
            append.execute();
        } catch (SQLException error) {
            System.err.println("refused: " + error.getMessage());
        }
    }
}
