import java.util.Map;
import org.apache.pulsar.functions.api.Record;
import org.apache.pulsar.io.core.Source;
import org.apache.pulsar.io.core.SourceContext;

/** A source: says each of the words in its configuration once, and then is quiet. */
public class Words implements Source<String> {
    private String[] words;
    private int next;

    @Override
    public void open(Map<String, Object> configuration, SourceContext context) {
        words = ((String) configuration.get("words")).split(" ");
    }

    @Override
    public Record<String> read() throws InterruptedException {
        while (next == words.length) {
            Thread.sleep(1000);
        }
        String word = words[next++];
        return () -> word;
    }

    @Override
    public void close() {}
}
