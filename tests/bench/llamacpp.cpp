// What llama.cpp's server makes of messages: a GGUF's path enters, then messages as one line of JSON each; a line of
// JSON leaves for each: the rendered prompt and its ids, or what is wrong.
#include "chat.h"
#include "common.h"
#include "llama.h"

#include <iostream>
#include <nlohmann/json.hpp>

int main(int count, char ** words) {
    if (count != 2) {
        std::cerr << "usage: ask MODEL.gguf < messages.jsonl\n";
        return 2;
    }
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_backend_init();
    llama_model_params how = llama_model_default_params();
    how.vocab_only = true;
    llama_model * model = llama_model_load_from_file(words[1], how);
    if (model == nullptr) {
        std::cerr << "cannot load " << words[1] << "\n";
        return 1;
    }
    const llama_vocab * vocab = llama_model_get_vocab(model);
    common_chat_templates_ptr templates = common_chat_templates_init(model, "");
    for (std::string line; std::getline(std::cin, line);) {
        nlohmann::ordered_json said;
        try {
            common_chat_templates_inputs asked;
            for (const auto & turn : nlohmann::ordered_json::parse(line)) {
                common_chat_msg one;
                one.role    = turn.at("role");
                one.content = turn.at("content");
                asked.messages.push_back(one);
            }
            const std::string prompt = common_chat_templates_apply(templates.get(), asked).prompt;
            said["prompt"]           = prompt;
            said["ids"]              = common_tokenize(vocab, prompt, true, true);
        } catch (const std::exception & error) {
            said["error"] = error.what();
        }
        nlohmann::ordered_json ends = nlohmann::ordered_json::array();
        for (llama_token id = 0; id < llama_vocab_n_tokens(vocab); id++) {
            if (llama_vocab_is_eog(vocab, id)) {
                ends.push_back(id);
            }
        }
        said["ends"] = ends;
        std::cout << said.dump() << std::endl;
    }
    llama_model_free(model);
}
