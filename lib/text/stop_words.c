/*
 * stop_words.c - English function words: articles, pronouns, prepositions,
 * conjunctions, auxiliary verbs, and what contractions leave when they are cut
 * at the apostrophe. They make up about 45 % of running text and say nothing
 * about its subject.
 *
 * Invariant: sorted, and each is one token in lower case (a test reads them
 * all). Upstream: vectorize.c.
 */
#include "stop_words.h"

#include "bits.h"

/* clang-format off */
const char *const hyi_stop_words_english[] = {
    "a", "about", "above", "after", "again", "against", "all", "also", "am",
    "among", "an", "and", "any", "are", "aren", "as", "at", "be", "because",
    "been", "before", "being", "below", "between", "both", "but", "by", "can",
    "cannot", "could", "couldn", "d", "did", "didn", "do", "does", "doesn",
    "doing", "don", "down", "during", "each", "either", "etc", "few", "for",
    "from", "further", "had", "hadn", "has", "hasn", "have", "haven", "having",
    "he", "her", "here", "hers", "herself", "him", "himself", "his", "how",
    "however", "i", "if", "in", "into", "is", "isn", "it", "its", "itself",
    "just", "ll", "m", "me", "might", "more", "most", "must", "my", "myself",
    "neither", "no", "nor", "not", "now", "o", "of", "off", "on", "once",
    "only", "or", "other", "ought", "our", "ours", "ourselves", "out", "over",
    "own", "per", "re", "s", "same", "shall", "she", "should", "shouldn", "so",
    "some", "such", "t", "than", "that", "the", "their", "theirs", "them",
    "themselves", "then", "there", "these", "they", "this", "those", "through",
    "thus", "to", "too", "under", "until", "up", "upon", "us", "ve", "very",
    "via", "was", "wasn", "we", "were", "weren", "what", "when", "where",
    "whether", "which", "while", "who", "whom", "whose", "why", "will", "with",
    "within", "without", "won", "would", "wouldn", "yet", "you", "your",
    "yours", "yourself", "yourselves",
};
/* clang-format on */

const size_t hyi_stop_words_english_count =
    HYI_ARRAY_COUNT(hyi_stop_words_english);
