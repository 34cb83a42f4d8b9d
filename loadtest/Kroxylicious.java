import io.kroxylicious.proxy.KafkaProxy;
import io.kroxylicious.proxy.config.ConfigParser;
import io.kroxylicious.proxy.internal.config.Features;
import java.nio.file.Files;
import java.nio.file.Path;

/** Starts Kroxylicious' runtime with a configuration file, as its own command line does, which Maven Central lacks. */
public final class Kroxylicious {
    public static void main(String[] arguments) throws Exception {
        ConfigParser parser = new ConfigParser();
        try (var stream = Files.newInputStream(Path.of(arguments[0]));
             var proxy = new KafkaProxy(parser, parser.parseConfiguration(stream), Features.defaultFeatures())) {
            proxy.startup().block();
        }
    }
}
