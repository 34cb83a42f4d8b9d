import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.pulsar.client.api.*;
import org.apache.pulsar.client.api.transaction.Transaction;

/** Two transactions, one aborted and one committed, which also move what was consumed to another topic. */
class Transactions {
    public static void main(String[] given) throws Exception {
        String url = given[0], token = given[1], ca = given[2], from = given[3], to = given[4];
        try (PulsarClient client = PulsarClient.builder().serviceUrl(url).enableTransaction(true)
                .authentication(AuthenticationFactory.token(token)).tlsTrustCertsFilePath(ca)
                .enableTlsHostnameVerification(true).build();
                Producer<String> source = client.newProducer(Schema.STRING).topic(from).create();
                Producer<String> target = client.newProducer(Schema.STRING).topic(to)
                        .sendTimeout(0, TimeUnit.SECONDS).create();
                Consumer<String> input = client.newConsumer(Schema.STRING).topic(from).subscriptionName("app-in")
                        .subscriptionInitialPosition(SubscriptionInitialPosition.Earliest)
                        .subscriptionType(SubscriptionType.Shared).subscribe();
                Consumer<String> output = client.newConsumer(Schema.STRING).topic(to).subscriptionName("app-out")
                        .subscriptionInitialPosition(SubscriptionInitialPosition.Earliest).subscribe()) {
            for (int number = 0; number < 5; number++) {
                source.send("order " + number);
            }
            for (boolean kept : new boolean[] {false, true}) {
                Transaction transaction =
                        client.newTransaction().withTransactionTimeout(1, TimeUnit.MINUTES).build().get();
                for (int number = 0; number < 5; number++) {
                    Message<String> message = input.receive(20, TimeUnit.SECONDS);
                    target.newMessage(transaction).value((kept ? "kept " : "aborted ") + message.getValue()).send();
                    input.acknowledgeAsync(message.getMessageId(), transaction).get();
                }
                if (kept) {
                    transaction.commit().get();
                } else {
                    transaction.abort().get();
                }
            }
            List<String> found = new ArrayList<>();
            for (Message<String> message; (message = output.receive(3, TimeUnit.SECONDS)) != null;) {
                found.add(message.getValue());
            }
            System.out.println("found " + found);
            System.out.println("left " + input.receive(1, TimeUnit.SECONDS));
        }
    }
}
