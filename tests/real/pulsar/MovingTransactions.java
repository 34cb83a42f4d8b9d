import java.net.InetSocketAddress;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.pulsar.client.api.*;
import org.apache.pulsar.client.api.transaction.Transaction;

/**
 * One transaction after another, each of which moves one message from a topic to another and is then committed or
 * aborted in turn, until standard input ends. Says "round N" of each, and at the end what was kept and what was seen.
 */
class MovingTransactions {
    static final int SECONDS = 40;

    public static void main(String[] given) throws Exception {
        String url = given[0], token = given[1], ca = given[2], from = given[3], to = given[4];
        int resolver = Integer.parseInt(given[5]);
        boolean[] ending = {false};
        Thread input = new Thread(() -> {
            try {
                while (System.in.read() >= 0) { }
            } catch (java.io.IOException error) {
                System.err.println(error);
            }
            ending[0] = true;
        });
        input.setDaemon(true);
        input.start();
        Set<String> kept = new TreeSet<>(), seen = new TreeSet<>();
        try (PulsarClient client = PulsarClient.builder().serviceUrl(url).enableTransaction(true)
                .authentication(AuthenticationFactory.token(token)).tlsTrustCertsFilePath(ca)
                .dnsServerAddresses(List.of(new InetSocketAddress("127.0.0.1", resolver)))
                .enableTlsHostnameVerification(true).build();
                Producer<String> source = client.newProducer(Schema.STRING).topic(from)
                        .sendTimeout(0, TimeUnit.SECONDS).create();
                Producer<String> target = client.newProducer(Schema.STRING).topic(to)
                        .sendTimeout(0, TimeUnit.SECONDS).create();
                Consumer<String> work = client.newConsumer(Schema.STRING).topic(from).subscriptionName("app-in")
                        .subscriptionInitialPosition(SubscriptionInitialPosition.Earliest)
                        .subscriptionType(SubscriptionType.Shared)
                        .negativeAckRedeliveryDelay(1, TimeUnit.SECONDS).subscribe();
                Consumer<String> output = client.newConsumer(Schema.STRING).topic(to).subscriptionName("app-out")
                        .subscriptionInitialPosition(SubscriptionInitialPosition.Earliest).subscribe()) {
            int sent = 0;
            for (int round = 0; !ending[0]; round++) {
                source.send("order " + sent++);
                Transaction transaction = client.newTransaction().withTransactionTimeout(1, TimeUnit.MINUTES).build()
                        .get(SECONDS, TimeUnit.SECONDS);
                Message<String> message = work.receive(SECONDS, TimeUnit.SECONDS);
                try {
                    target.newMessage(transaction).value(message.getValue()).sendAsync().get(SECONDS, TimeUnit.SECONDS);
                    work.acknowledgeAsync(message.getMessageId(), transaction).get(SECONDS, TimeUnit.SECONDS);
                } catch (ExecutionException moving) { // a consumer that is about to connect again takes no such ack
                    transaction.abort().get(SECONDS, TimeUnit.SECONDS);
                    work.negativeAcknowledge(message);
                    round--;
                    continue;
                }
                if (round % 2 == 0) {
                    transaction.commit().get(SECONDS, TimeUnit.SECONDS);
                    kept.add(message.getValue());
                } else {
                    transaction.abort().get(SECONDS, TimeUnit.SECONDS);
                }
                System.out.println("round " + round);
            }
            for (Message<String> message; (message = output.receive(3, TimeUnit.SECONDS)) != null;) {
                seen.add(message.getValue());
            }
        }
        System.out.println("kept " + kept.size() + ", seen " + seen.size() + ", same " + kept.equals(seen));
        System.exit(0);
    }
}
