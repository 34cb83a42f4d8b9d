import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Map;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.io.core.Sink;
import org.apache.pulsar.io.core.SinkContext;

/** A sink: adds each message to the file in its configuration, as a line. */
public class Shelf implements Sink<String> {
    private Path file;

    @Override
    public void open(Map<String, Object> configuration, SinkContext context) {
        file = Path.of((String) configuration.get("file"));
    }

    @Override
    public void write(Record<String> record) throws Exception {
        Files.writeString(file, record.getValue() + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        record.ack();
    }

    @Override
    public void close() {}
}
