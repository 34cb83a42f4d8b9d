import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.pulsar.client.api.*;
import org.apache.pulsar.client.api.transaction.Transaction;

/**
 * As many transactions as a line of standard input says, each of which moves one message from a topic to another and is
 * then committed or aborted in turn. Says "round N" of each, and at the end of input what was kept and what was seen.
 */
class MovingTransactions {
    static final int SECONDS = 70;

    public static void main(String[] given) throws Exception {
        String url = given[0], token = given[1], ca = given[2], from = given[3], to = given[4];
        int resolver = Integer.parseInt(given[5]), sent = 0, round = 0;
        Set<String> kept = new TreeSet<>(), seen = new TreeSet<>();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
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
            for (String line; (line = input.readLine()) != null;) {
                for (int end = round + Integer.parseInt(line); round < end;) {
                    source.send("order " + sent++);
                    Transaction transaction = client.newTransaction().withTransactionTimeout(1, TimeUnit.MINUTES)
                            .build().get(SECONDS, TimeUnit.SECONDS);
                    Message<String> message = work.receive(SECONDS, TimeUnit.SECONDS);
                    try {
                        target.newMessage(transaction).value(message.getValue()).sendAsync()
                                .get(SECONDS, TimeUnit.SECONDS);
                        work.acknowledgeAsync(message.getMessageId(), transaction).get(SECONDS, TimeUnit.SECONDS);
                    } catch (ExecutionException moving) { // a consumer that connects again takes no such ack
                        transaction.abort().get(SECONDS, TimeUnit.SECONDS);
                        work.negativeAcknowledge(message);
                        continue;
                    }
                    if (round % 2 == 0) {
                        transaction.commit().get(SECONDS, TimeUnit.SECONDS);
                        kept.add(message.getValue());
                    } else {
                        transaction.abort().get(SECONDS, TimeUnit.SECONDS);
                    }
                    System.out.println("round " + round++);
                }
            }
            Message<String> message; // what was committed last takes its time on a busy machine, what was not has it too
            while ((message = output.receive(seen.containsAll(kept) ? 2 : SECONDS, TimeUnit.SECONDS)) != null) {
                seen.add(message.getValue());
            }
        }
        Set<String> lost = new TreeSet<>(kept);
        lost.removeAll(seen);
        seen.removeAll(kept);
        System.out.println("kept " + kept.size() + ", never seen " + lost + ", seen though aborted " + seen);
        System.exit(0);
    }
}
